//go:build !wasm

package karuta

import (
	"errors"
	"net/netip"
	"strconv"
	"time"
)

// Host stands in for the host in tests. A test fills in what a policy asks for, and looks at what the
// policy changed. A component does not have it.
//
// It makes none of the host's checks: texts are not cut, intervals, key-values, names of series, plans
// and published data are not bounded, nothing expires, no key can be loaded, and the places of added
// peers are not kept. `karuta plugin test` runs a component on the real host.
var Host = NewHost()

// The functions of this file are those of host.go, which documents them.

// HostStub holds the answers to a policy's questions, and what the policy did.
type HostStub struct {
	PeerID []byte
	// Left is nil if the client did not say.
	Left                             *uint64
	Uploaded, Downloaded             uint64
	Query, Path, Headers, Attributes map[string]string
	Credential                       string
	ClientAddress                    netip.Addr
	SocketAddress                    netip.AddrPort
	Swarms                           map[InfoHash]Stats
	Swarm                            Stats
	Member                           *Member
	Torrent                          *Torrent
	Sources                          []Source
	Values                           map[string][]byte
	Failure, Warning                 string
	// RetryIn is in whole minutes.
	RetryIn               *time.Duration
	Interval, MinInterval time.Duration
	NumWant               uint32
	Added                 []netip.AddrPort
	Hidden                bool
	// PeerHidden is whether the policy called HidePeer.
	PeerHidden bool
	// UploadCredit and DownloadCredit are in percent; nil if the policy does not say.
	UploadCredit, DownloadCredit *uint32
	Remembered                   Scope
	RememberedFor                time.Duration
	Label                        uint64
	Log                          []string
	Metrics                      map[string]float64
	metricNames                  []string
}

// Source is a data source of a test: its name, its format, and what it contains.
type Source struct {
	Name, Format string
	InfoHashes   map[InfoHash]bool
	Strings      map[string]bool
	Addresses    map[netip.Prefix]uint64
}

// NewHost returns a host that knows nothing: begin a test with `karuta.Host = karuta.NewHost()`.
func NewHost() *HostStub {
	return &HostStub{
		Query: map[string]string{}, Path: map[string]string{}, Headers: map[string]string{},
		Attributes: map[string]string{}, Swarms: map[InfoHash]Stats{}, Values: map[string][]byte{},
		Metrics: map[string]float64{}, Interval: 30 * time.Minute, MinInterval: 15 * time.Minute,
	}
}

func PeerID() []byte                             { return Host.PeerID }
func Uploaded() uint64                           { return Host.Uploaded }
func Downloaded() uint64                         { return Host.Downloaded }
func QueryParam(name string) (string, bool)      { return look(Host.Query, name) }
func PathParam(name string) (string, bool)       { return look(Host.Path, name) }
func Header(name string) (string, bool)          { return look(Host.Headers, name) }
func Credential() (string, bool)                 { return Host.Credential, Host.Credential != "" }
func Attribute(name string) (string, bool)       { return look(Host.Attributes, name) }
func ClientAddress() netip.Addr                  { return Host.ClientAddress }
func SocketAddress() netip.AddrPort              { return Host.SocketAddress }
func Fail(reason string)                         { Host.Failure = reason }
func RetryNever()                                { Host.RetryIn = nil }
func Warn(message string)                        { Host.Warning = message }
func Interval() time.Duration                    { return Host.Interval }
func MinInterval() time.Duration                 { return Host.MinInterval }
func SetInterval(interval time.Duration)         { Host.Interval = ofSeconds(seconds(interval)) }
func SetMinInterval(interval time.Duration)      { Host.MinInterval = ofSeconds(seconds(interval)) }
func SetNumWant(count uint32)                    { Host.NumWant = count }
func AddPeer(peer netip.AddrPort, _ Place)       { Host.Added = append(Host.Added, peer) }
func SetAttribute(name, value string)            { Host.Attributes[name] = value }
func Hide()                                      { Host.Hidden = true }
func HidePeer()                                  { Host.PeerHidden = true }
func CurrentSwarm() Stats                        { return Host.Swarm }
func LookupSwarm(hash InfoHash) (Stats, bool)    { return look(Host.Swarms, hash) }
func AssignLocality(label uint64, plan uint32)   { Host.Label = label }
func Refresh(string)                             {}
func LoadKey(string) (uint32, error)             { return 0, errors.New("no keys in tests") }
func ForgetKey(uint32)                           {}
func Verify(uint32, string, []byte, []byte) bool { return false }
func Get(key string) ([]byte, bool)              { return look(Host.Values, key) }
func Delete(key string)                          { delete(Host.Values, key) }
func LogEnabled(Level) bool                      { return true }
func Add(id uint32, delta uint64)                { Host.Metrics[Host.metricNames[id]] += float64(delta) }
func SetGauge(id uint32, value float64)          { Host.Metrics[Host.metricNames[id]] = value }

func Left() (uint64, bool) {
	if Host.Left == nil {
		return 0, false
	}
	return *Host.Left, true
}

func CurrentMember() (member Member, found bool) {
	if Host.Member != nil {
		member, found = *Host.Member, true
	}
	return member, found
}

func CurrentTorrent() (torrent Torrent, found bool) {
	if Host.Torrent != nil {
		torrent, found = *Host.Torrent, true
	}
	return torrent, found
}

func Credit(upload, download uint32) { Host.UploadCredit, Host.DownloadCredit = &upload, &download }

func RetryIn(after time.Duration) {
	rounded := time.Duration(minutes(after)) * time.Minute
	Host.RetryIn = &rounded
}

func Remember(scope Scope, duration time.Duration) {
	Host.Remembered, Host.RememberedFor = scope, ofSeconds(wholeSeconds(duration))
}

func DefineLocality([]uint8, bool, uint8) (uint32, error) { return 0, nil }
func DefineLocalityWithGateways([]uint8, bool, uint8, uint8) (uint32, error) {
	return 0, nil
}

func Counter(name, _ string) (uint32, error)              { return metric(name), nil }
func Gauge(name, _ string) (uint32, error)                { return metric(name), nil }

func Sources() (sources [][2]string) {
	for _, source := range Host.Sources {
		sources = append(sources, [2]string{source.Name, source.Format})
	}
	return sources
}

func open(name string) (Set, error) {
	for at, source := range Host.Sources {
		if source.Name == name {
			return Set(at), nil
		}
	}
	return 0, errors.New("there is no data source `" + name + "`")
}

func (s Set) HasInfoHash(hash InfoHash) bool { return Host.Sources[s].InfoHashes[hash] }
func (s Set) HasString(text string) bool     { return Host.Sources[s].Strings[text] }

func (s Set) MatchAddress(address netip.Addr) (number uint64, found bool) {
	longest := -1
	for prefix, value := range Host.Sources[s].Addresses {
		if prefix.Contains(address) && prefix.Bits() > longest {
			longest, number, found = prefix.Bits(), value, true
		}
	}
	return number, found
}

func (s Set) Size() uint64 {
	source := Host.Sources[s]
	return uint64(len(source.InfoHashes) + len(source.Strings) + len(source.Addresses))
}

func Put(key string, value []byte, _ time.Duration) error {
	Host.Values[key] = value
	return nil
}

func Increment(key string, delta int64, _ time.Duration) (int64, error) {
	count, err := strconv.ParseInt(string(append([]byte("0"), Host.Values[key]...)), 10, 64)
	Host.Values[key] = strconv.AppendInt(nil, count+delta, 10)
	return count + delta, err
}

func write(_ Level, line string) { Host.Log = append(Host.Log, line) }

func metric(name string) uint32 {
	Host.metricNames = append(Host.metricNames, name)
	return uint32(len(Host.metricNames) - 1)
}

func look[K comparable, V any](values map[K]V, key K) (V, bool) {
	value, found := values[key]
	return value, found
}
