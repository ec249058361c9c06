package karuta

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// InfoHash is the 20 bytes that name a torrent (BEP 3), or the first 20 of a v2 hash (BEP 52). In a
// configuration, 40 hexadecimal digits, or the 64 of a v2 hash.
type InfoHash [20]byte

// ParseInfoHash parses 40 hexadecimal digits of either case, or the 64 of a v2 hash.
func ParseInfoHash(text string) (hash InfoHash, err error) {
	bytes, err := hex.DecodeString(text)
	if err != nil || len(bytes) != len(hash) && len(bytes) != 32 {
		return hash, fmt.Errorf("must be 40 hexadecimal digits, or 64")
	}
	return InfoHash(bytes[:len(hash)]), nil
}

// String returns 40 hexadecimal digits.
func (h InfoHash) String() string { return hex.EncodeToString(h[:]) }

func infoHash(words ...uint32) (hash InfoHash) {
	for at, word := range words {
		binary.BigEndian.PutUint32(hash[at*4:], word)
	}
	return hash
}

func (h InfoHash) word(at int) uint32 { return binary.BigEndian.Uint32(h[at*4:]) }

// address decodes an address of the contract, which maps IPv4 into IPv6.
func address(a, b, c, d uint32) netip.Addr {
	var bytes [16]byte
	for at, word := range [4]uint32{a, b, c, d} {
		binary.BigEndian.PutUint32(bytes[at*4:], word)
	}
	return netip.AddrFrom16(bytes).Unmap()
}

func addressWords(address netip.Addr) (words [4]uint32) {
	bytes := address.As16()
	for at := range words {
		words[at] = binary.BigEndian.Uint32(bytes[at*4:])
	}
	return words
}

// seconds rounds up, so that clients wait and values live at least as long as requested.
func seconds(duration time.Duration) uint32 { return units(duration, time.Second, time.Second-1) }

// wholeSeconds rounds down, so that nothing is remembered for longer than was promised.
func wholeSeconds(duration time.Duration) uint32 { return units(duration, time.Second, 0) }

// minutes rounds up, as seconds does.
func minutes(duration time.Duration) uint32 { return units(duration, time.Minute, time.Minute-1) }

func units(duration, unit, more time.Duration) uint32 {
	if duration <= 0 {
		return 0
	}
	number := duration / unit
	if duration%unit+more >= unit {
		number++
	}
	return uint32(min(number, math.MaxUint32))
}

func ofSeconds(seconds uint32) time.Duration { return time.Duration(seconds) * time.Second }

// Event is what a peer reports.
type Event uint8

// The events. Paused is that of BEP 21.
const (
	NoEvent Event = iota
	Started
	Stopped
	Completed
	Paused
)

// Transport is how a request came.
type Transport uint8

// The transports.
const (
	UDP Transport = iota
	HTTP
	HTTPS
	WebSocket
)

// Verdict is what a filter decides.
type Verdict uint8

// The verdicts: ask the next policy; accept the request and skip the remaining filters; answer with
// a failure; do not answer at all.
const (
	Next Verdict = iota
	Accept
	Reject
	Drop
)

// Traits are the yes-or-no properties of a request.
type Traits uint8

// Traits of a request.
const (
	// Seeder: nothing is left to download. Partial seeds (BEP 21) are not seeders.
	Seeder Traits = 1 << iota
	// IPv6: the announced address is an IPv6 address.
	IPv6
	// Proxied: the client's address was taken from a trusted proxy's header.
	Proxied
	// Overridden: the announced address is the request's own `ip` parameter.
	Overridden
	// HasCredential: there is a [Credential].
	HasCredential
)

// Has returns whether the traits include all of the others.
func (t Traits) Has(others Traits) bool { return t&others == others }

// Announce is one announce. The rest of the request is pulled with functions such as [QueryParam].
type Announce struct {
	InfoHash InfoHash
	// Address is the announced address. The address of the client that asks is [ClientAddress].
	Address netip.Addr
	// Client is the first eight bytes of the peer id, which name the client (BEP 20): `-TR4050-`.
	Client    [8]byte
	Port      uint16
	Event     Event
	Transport Transport
	// NumWant is after the configuration's default and limit.
	NumWant uint32
	Traits  Traits
}

// Scrape is one info-hash of one scrape.
type Scrape struct {
	InfoHash  InfoHash
	Address   netip.Addr
	Transport Transport
	Traits    Traits
}

// Candidate is a peer that the answer may hold.
type Candidate struct {
	Address netip.AddrPort
	Seeder  bool
	// Label is the one of [AssignLocality]; 0 if there is none.
	Label uint64
	// Age is the time since it last announced.
	Age time.Duration
}

// Outcome is the outcome of an announce.
type Outcome struct {
	// ID grows while the daemon runs. A batch that is offered again has the same IDs again.
	ID         uint64
	Announce   Announce
	PeerID     []byte
	Credential string
	// Attributes are what policies set with [SetAttribute].
	Attributes map[string]string
	Verdict    Verdict
	// DecidedBy is the policy that decided, empty if none did.
	DecidedBy string
	// Left is in bytes, nil if the client did not say.
	Left *uint64
	// Uploaded and Downloaded are in bytes, as the client counts.
	Uploaded, Downloaded uint64
	// The deltas are since the same client's previous announce of the same torrent.
	UploadedDelta, DownloadedDelta uint64
	// SincePrevious is nil at a peer's first announce.
	SincePrevious *time.Duration
	// Time is when the announce came.
	Time time.Time
}

// Stats are the sizes of a swarm.
type Stats struct{ Seeders, Leechers, Completed uint32 }

// Member is a member of the tracker, as it was before the request.
type Member struct {
	ID     uint64
	Rights Rights
	Group  uint32
	// Slots is how many torrents it may download at a time; nil for any number.
	Slots *uint32
	// Torrents that it seeds and downloads, and its peers at this torrent.
	Seeding, Leeching, Here uint32
}

// Rights are what a member may.
type Rights uint8

// The rights.
const (
	Enabled Rights = 1 << iota
	Leech
	Visible
	Immune
	Freeleech
	DoubleUpload
)

// Torrent is a torrent that the accounts know.
type Torrent struct {
	ID    uint64
	Marks Marks
	// Status is 0 for pending, 1 approved, 2 rejected, 3 postponed. Reason is why it was deleted.
	Status, Reason                 uint32
	UploadPercent, DownloadPercent uint32
}

// Marks are what is known of a torrent.
type Marks uint8

// The marks.
const (
	Approved Marks = 1 << iota
	Deleted
	Free
	Neutral
	Featured
	HasToken
)

// Place is the position of an added peer in the answer.
type Place uint8

// Before the swarm's own peers, or at a random place if the swarm gave a peer of that family.
const (
	First Place = iota
	Mixed
)

// Scope is what a remembered verdict depends on.
type Scope uint16

// The parts of a scope.
const (
	ByInfoHash Scope = 1 << iota
	ByAddress
	ByClient
	ByCredential
	ByEvent
	ByTransport
	ByPeerID
	ByPort
	ByRole
)

// Level is the severity of a log line.
type Level uint8

// The levels.
const (
	Trace Level = iota
	Debug
	Info
	Warning
	Error
)
