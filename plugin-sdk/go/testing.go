//go:build !wasm

package karuta

import (
	"errors"
	"net/netip"
	"strconv"
)

// Host is what stands in for the host in tests, which fill in what a policy asks for and look at
// what it changed. It is not there in a component.
var Host = NewHost()

// The functions of this file are those of host.go, which says what each does.

// HostStub are the answers to a policy's questions, and what it did.
type HostStub struct {
	PeerID                           []byte
	Left, Uploaded, Downloaded       uint64
	Query, Path, Headers, Attributes map[string]string
	Credential                       string
	ClientAddress                    netip.Addr
	SocketAddress                    netip.AddrPort
	Swarms                           map[InfoHash]Stats
	Swarm                            Stats
	Sources                          []Source
	Values                           map[string][]byte
	Failure, Warning                 string
	RetryIn                          *uint32
	Interval, MinInterval, NumWant   uint32
	Added                            []netip.AddrPort
	Hidden                           bool
	Remembered                       Scope
	RememberedSeconds                uint32
	Label                            uint64
	Log                              []string
	Metrics                          map[string]float64
	metricNames                      []string
}

// Source is a data source of a test: its name, its format, and what it holds by its text.
type Source struct {
	Name, Format string
	InfoHashes   map[InfoHash]bool
	Strings      map[string]bool
	Addresses    map[netip.Prefix]uint64
}

// NewHost is one that knows nothing: tests begin with `karuta.Host = karuta.NewHost()`.
func NewHost() *HostStub {
	return &HostStub{
		Query: map[string]string{}, Path: map[string]string{}, Headers: map[string]string{},
		Attributes: map[string]string{}, Swarms: map[InfoHash]Stats{}, Values: map[string][]byte{},
		Metrics: map[string]float64{}, Interval: 1800, MinInterval: 900,
	}
}

func PeerID() []byte                             { return Host.PeerID }
func Left() uint64                               { return Host.Left }
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
func RetryIn(minutes uint32)                     { Host.RetryIn = &minutes }
func RetryNever()                                { Host.RetryIn = nil }
func Warn(message string)                        { Host.Warning = message }
func Interval() uint32                           { return Host.Interval }
func MinInterval() uint32                        { return Host.MinInterval }
func SetInterval(seconds uint32)                 { Host.Interval = seconds }
func SetMinInterval(seconds uint32)              { Host.MinInterval = seconds }
func SetNumWant(count uint32)                    { Host.NumWant = count }
func AddPeer(peer netip.AddrPort, _ Place)       { Host.Added = append(Host.Added, peer) }
func SetAttribute(name, value string)            { Host.Attributes[name] = value }
func Hide()                                      { Host.Hidden = true }
func Remember(scope Scope, seconds uint32)       { Host.Remembered, Host.RememberedSeconds = scope, seconds }
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

func DefineLocality([]uint8, bool, uint8) (uint32, error) { return 0, nil }
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

func Put(key string, value []byte, _ uint32) error {
	Host.Values[key] = value
	return nil
}

func Increment(key string, delta int64, _ uint32) (int64, error) {
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
