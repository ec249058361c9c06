//go:build wasm

package karuta

import (
	"errors"
	"math"
	"net/netip"
	"time"

	"karuta/bindings/karuta_policy_account"
	"karuta/bindings/karuta_policy_keyvalue"
	"karuta/bindings/karuta_policy_locality"
	"karuta/bindings/karuta_policy_log"
	"karuta/bindings/karuta_policy_metrics"
	"karuta/bindings/karuta_policy_request"
	"karuta/bindings/karuta_policy_response"
	"karuta/bindings/karuta_policy_sets"
	"karuta/bindings/karuta_policy_signatures"
	"karuta/bindings/karuta_policy_swarm"
	"karuta/bindings/karuta_policy_types"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// PeerID returns the whole peer id of the request.
func PeerID() []byte { return karuta_policy_request.PeerId() }

// Left returns how many bytes are left to download; false if the client did not say.
func Left() (uint64, bool) {
	left := karuta_policy_request.Left()
	return left, left != math.MaxUint64
}

// Uploaded returns how many bytes the peer says it has uploaded since `started`.
func Uploaded() uint64 { return karuta_policy_request.Uploaded() }

// Downloaded returns how many bytes the peer says it has downloaded since `started`.
func Downloaded() uint64 { return karuta_policy_request.Downloaded() }

// QueryParam returns a percent-decoded query parameter (BEP 41 URL data on UDP).
func QueryParam(name string) (string, bool) { return option(karuta_policy_request.QueryParam(name)) }

// PathParam returns a named parameter of the route, such as `passkey` in `/announce/{passkey}`.
func PathParam(name string) (string, bool) { return option(karuta_policy_request.PathParam(name)) }

// Header returns the first header of that name, in any case; none on UDP.
func Header(name string) (string, bool) { return option(karuta_policy_request.Header(name)) }

// Credential returns what the policy's `credential` rule found.
func Credential() (string, bool) { return option(karuta_policy_request.Credential()) }

// Attribute returns a value that an earlier policy of the chain set.
func Attribute(name string) (string, bool) { return option(karuta_policy_request.Attribute(name)) }

// ClientAddress returns the address of the client that asks, whatever address it announces.
func ClientAddress() netip.Addr {
	a := karuta_policy_request.ClientAddress()
	return address(a.F0, a.F1, a.F2, a.F3)
}

// SocketAddress returns where the packet or connection came from; the proxy, if there is one.
func SocketAddress() netip.AddrPort {
	a, port := karuta_policy_request.SocketAddress()
	return netip.AddrPortFrom(address(a.F0, a.F1, a.F2, a.F3), port)
}

// Fail sets the `failure reason` that the client is shown when the verdict is Reject.
func Fail(reason string) { karuta_policy_response.Fail(reason) }

// RetryIn tells a rejected client when to try again (BEP 31), rounded up to whole minutes.
func RetryIn(after time.Duration) { karuta_policy_response.RetryIn(wit.Some(minutes(after))) }

// RetryNever tells a rejected client not to try again (BEP 31).
func RetryNever() { karuta_policy_response.RetryIn(wit.None[uint32]()) }

// Warn adds a `warning message`.
func Warn(message string) { karuta_policy_response.Warn(message) }

// Interval returns the time until the next announce, as the answer would say now.
func Interval() time.Duration { return ofSeconds(karuta_policy_response.Interval()) }

// MinInterval returns the time that a client must wait at least, as the answer would say now.
func MinInterval() time.Duration { return ofSeconds(karuta_policy_response.MinInterval()) }

// SetInterval sets the time until the next announce, rounded up to whole seconds.
func SetInterval(interval time.Duration) { karuta_policy_response.SetInterval(seconds(interval)) }

// SetMinInterval sets the time that a client must wait at least, rounded up to whole seconds.
func SetMinInterval(interval time.Duration) {
	karuta_policy_response.SetMinInterval(seconds(interval))
}

// SetNumWant sets the maximum number of peers in the answer.
func SetNumWant(count uint32) { karuta_policy_response.SetNumWant(count) }

// AddPeer adds a peer to the answer.
func AddPeer(peer netip.AddrPort, place Place) {
	karuta_policy_response.AddPeer(toAddress(peer.Addr()), peer.Port(), uint8(place))
}

// SetAttribute sets a value that later policies and observers can read.
func SetAttribute(name, value string) { karuta_policy_response.SetAttribute(name, value) }

// Hide answers zeros for this info-hash, in a scrape.
func Hide() { karuta_policy_response.Hide() }

// Remember lets the host reuse the verdict, and what this call changed, for every request to the same
// hook that is equal in scope, without asking again. The time is rounded down to whole seconds. By
// calling it a policy promises that nothing else it looked at matters.
func Remember(scope Scope, duration time.Duration) {
	karuta_policy_response.Remember(uint16(scope), wholeSeconds(duration))
}

// CurrentSwarm returns the swarm of the request, as it was before the request.
func CurrentSwarm() Stats { return Stats(karuta_policy_swarm.Current()) }

// LookupSwarm returns the swarm of any info-hash; false if there is none.
func LookupSwarm(hash InfoHash) (Stats, bool) {
	stats, found := option(karuta_policy_swarm.Lookup(hash.words()))
	return Stats(stats), found
}

// CurrentMember returns the member whose passkey the request carries; false without a known one.
func CurrentMember() (Member, bool) {
	member, found := option(karuta_policy_account.Member())
	return Member{
		ID: member.Id, Rights: Rights(member.Rights), Group: member.Group, Slots: pointer(member.Slots),
		Seeding: member.Seeding, Leeching: member.Leeching, Here: member.Here,
	}, found
}

// CurrentTorrent returns the torrent of the request; false if the accounts do not know it.
func CurrentTorrent() (Torrent, bool) {
	torrent, found := option(karuta_policy_account.Torrent())
	return Torrent{
		ID: torrent.Id, Marks: Marks(torrent.Marks), Status: torrent.Status, Reason: torrent.Reason,
		UploadPercent: torrent.UploadPercent, DownloadPercent: torrent.DownloadPercent,
	}, found
}

// Credit sets how much of what was moved since the client's last announce is credited, in percent.
func Credit(upload, download uint32) { karuta_policy_account.Credit(upload, download) }

// HidePeer hides the peer of an announce: it is counted, and it is given others, but it is given to
// nobody until it announces again. Works without accounts, too.
func HidePeer() { karuta_policy_account.HidePeer() }

// DefineLocality defines a plan of prefix lengths, nearest first. Call it only while an instance is
// created.
func DefineLocality(prefixes []uint8, roleFirst bool, farPercent uint8) (uint32, error) {
	return result(karuta_policy_locality.Define(localityPlan(prefixes, roleFirst, farPercent)))
}

// DefineLocalityWithGateways defines a plan by which only some peers of a group are given others beyond
// it: its gateways. wit/policy.wit says which.
func DefineLocalityWithGateways(prefixes []uint8, roleFirst bool, farPercent, gateways uint8) (uint32, error) {
	plan := localityPlan(prefixes, roleFirst, farPercent)
	return result(karuta_policy_locality.DefineWithGateways(plan, gateways))
}

func localityPlan(prefixes []uint8, roleFirst bool, farPercent uint8) karuta_policy_locality.Plan {
	plan := karuta_policy_locality.Plan{Prefixes: prefixes, FarPercent: farPercent}
	if roleFirst {
		plan.Order = karuta_policy_locality.OrderRoleFirst
	}
	return plan
}

// AssignLocality labels the announcing peer, and picks the peers of its answer by that plan.
func AssignLocality(label uint64, plan uint32) { karuta_policy_locality.Assign(label, plan) }

// Sources returns the name and format of each data source that the configuration declares.
func Sources() (sources [][2]string) {
	for _, source := range karuta_policy_sets.Sources() {
		sources = append(sources, [2]string{source.F0, source.F1})
	}
	return sources
}

// Refresh asks the host to fetch a data source again soon.
func Refresh(name string) { karuta_policy_sets.Refresh(name) }

func open(name string) (Set, error) {
	set, err := result(karuta_policy_sets.Open(name))
	return Set(set), err
}

// HasInfoHash returns whether the set contains an info-hash.
func (s Set) HasInfoHash(hash InfoHash) bool {
	return karuta_policy_sets.HasInfoHash(uint32(s), hash.words())
}

// HasString returns whether the set contains a text.
func (s Set) HasString(text string) bool { return karuta_policy_sets.HasString(uint32(s), text) }

// MatchAddress returns the number of the longest prefix that contains an address; false if none does.
func (s Set) MatchAddress(address netip.Addr) (uint64, bool) {
	return option(karuta_policy_sets.MatchAddress(uint32(s), toAddress(address)))
}

// Size returns the number of entries.
func (s Set) Size() uint64 { return karuta_policy_sets.Size(uint32(s)) }

// LoadKey loads a public key from its JWK.
func LoadKey(jwk string) (uint32, error) { return result(karuta_policy_signatures.LoadKey(jwk)) }

// ForgetKey frees a key that has been rotated out.
func ForgetKey(key uint32) { karuta_policy_signatures.ForgetKey(key) }

// Verify returns whether a signature is valid. The algorithm is named as in JWS.
func Verify(key uint32, algorithm string, message, signature []byte) bool {
	return karuta_policy_signatures.Verify(key, algorithm, message, signature)
}

// Get returns a value shared by all instances; for a counter, its decimal digits.
func Get(key string) ([]byte, bool) { return option(karuta_policy_keyvalue.Get([]byte(key))) }

// Put sets a value, which expires after the ttl (rounded up to whole seconds); or never if it is 0.
func Put(key string, value []byte, ttl time.Duration) error {
	_, err := result(karuta_policy_keyvalue.Put([]byte(key), value, ofTTL(ttl)))
	return err
}

// Delete removes a value.
func Delete(key string) { karuta_policy_keyvalue.Delete([]byte(key)) }

// Increment adds to a counter and returns the sum. The ttl is as in [Put]; it starts when the counter
// is created.
func Increment(key string, delta int64, ttl time.Duration) (int64, error) {
	return result(karuta_policy_keyvalue.Increment([]byte(key), delta, ofTTL(ttl)))
}

// LogEnabled returns whether the host shows lines of that level.
func LogEnabled(level Level) bool { return karuta_policy_log.Enabled(uint8(level)) }

func write(level Level, line string) { karuta_policy_log.Write(uint8(level), line) }

// Counter returns the counter `karuta_plugin_NAME_total`, for [Add], and creates it if it does not
// exist. NAME may end in `_total` itself.
func Counter(name, help string) (uint32, error) {
	return result(karuta_policy_metrics.Counter(name, help))
}

// Gauge returns the gauge `karuta_plugin_NAME`, for [SetGauge], and creates it if it does not exist.
func Gauge(name, help string) (uint32, error) {
	return result(karuta_policy_metrics.Gauge(name, help))
}

// Add adds to a counter.
func Add(id uint32, delta uint64) { karuta_policy_metrics.Add(id, delta) }

// SetGauge sets a gauge.
func SetGauge(id uint32, value float64) { karuta_policy_metrics.Set(id, value) }

// AnnounceOf is for the packages in exports.
func AnnounceOf(a karuta_policy_types.Announce) Announce {
	h, ip := a.InfoHash, a.Address
	announce := Announce{
		InfoHash:  infoHash(h.F0, h.F1, h.F2, h.F3, h.F4),
		Address:   address(ip.F0, ip.F1, ip.F2, ip.F3),
		Port:      a.Port,
		Event:     Event(a.Event),
		Transport: Transport(a.Transport),
		NumWant:   a.NumWant,
		Traits:    Traits(a.Traits),
	}
	hash := infoHash(a.Client.F0, a.Client.F1)
	copy(announce.Client[:], hash[:])
	return announce
}

// ScrapeOf is for the packages in exports.
func ScrapeOf(s karuta_policy_types.Scrape) Scrape {
	h, ip := s.InfoHash, s.Address
	return Scrape{
		InfoHash:  infoHash(h.F0, h.F1, h.F2, h.F3, h.F4),
		Address:   address(ip.F0, ip.F1, ip.F2, ip.F3),
		Transport: Transport(s.Transport),
		Traits:    Traits(s.Traits),
	}
}

// AddressOf is for the packages in exports.
func AddressOf(a wit.Tuple4[uint32, uint32, uint32, uint32]) netip.Addr {
	return address(a.F0, a.F1, a.F2, a.F3)
}

// Returned is for the packages in exports.
func Returned(err error) wit.Result[wit.Unit, string] {
	if err != nil {
		return wit.Err[wit.Unit](err.Error())
	}
	return wit.Ok[wit.Unit, string](wit.Unit{})
}

func (h InfoHash) words() wit.Tuple5[uint32, uint32, uint32, uint32, uint32] {
	return wit.Tuple5[uint32, uint32, uint32, uint32, uint32]{
		F0: h.word(0), F1: h.word(1), F2: h.word(2), F3: h.word(3), F4: h.word(4),
	}
}

func toAddress(address netip.Addr) wit.Tuple4[uint32, uint32, uint32, uint32] {
	words := addressWords(address)
	return wit.Tuple4[uint32, uint32, uint32, uint32]{F0: words[0], F1: words[1], F2: words[2], F3: words[3]}
}

func option[T any](value wit.Option[T]) (some T, found bool) {
	return value.SomeOr(some), value.IsSome()
}

func pointer[T any](value wit.Option[T]) *T {
	if some, found := option(value); found {
		return &some
	}
	return nil
}

func result[T any](value wit.Result[T, string]) (ok T, err error) {
	if value.IsErr() {
		return ok, errors.New(value.Err())
	}
	return value.Ok(), nil
}

func ofTTL(ttl time.Duration) wit.Option[uint32] {
	if ttl == 0 {
		return wit.None[uint32]()
	}
	return wit.Some(seconds(ttl))
}
