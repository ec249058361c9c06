package karuta

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

type testConfig struct {
	Lowest uint16   `json:"lowest" karuta:"required"`
	Names  []string `json:"names"`
	From   *string  `json:"from"`
}

func TestErrorsNameThePath(t *testing.T) {
	cases := [][2]string{
		{`{"lowest": 1}`, ""},
		{`{}`, "missing key `lowest`"},
		{`null`, "missing key `lowest`"},
		{`[]`, "the configuration is not a mapping"},
		{`{"lowest": "1"}`, "lowest: found a string, expected uint16"},
		{`{"lowest": 70000}`, "lowest: found a number 70000, expected uint16"},
		{`{"lowest": 1, "other": 2}`, "other: unknown key"},
	}
	for _, c := range cases {
		var config testConfig
		err := ReadConfig(c[0], &config)
		if got := text(err); got != c[1] {
			t.Errorf("%s: %q, expected %q", c[0], got, c[1])
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestValuesAreWordsBothWays(t *testing.T) {
	const hex = "000102030405060708090a0b0c0d0e0f10111213"
	hash, err := ParseInfoHash(hex)
	if err != nil || hash.String() != hex || hash.word(1) != 0x04050607 {
		t.Errorf("%v %v", hash, err)
	}
	if infoHash(0x00010203, 0x04050607, 0x08090a0b, 0x0c0d0e0f, 0x10111213) != hash {
		t.Error("words make another info-hash")
	}
	if v2, err := ParseInfoHash(hex + strings.Repeat("fF", 12)); err != nil || v2 != hash {
		t.Errorf("%v %v", v2, err)
	}
	for _, wrong := range []string{"", hex[1:], hex + "00", "g" + hex[1:], hex + hex} {
		if _, err := ParseInfoHash(wrong); err == nil {
			t.Errorf("%q is not an info-hash", wrong)
		}
	}
	ipv4 := address(0, 0, 0xffff, 0xc0000201)
	if ipv4 != netip.MustParseAddr("192.0.2.1") || addressWords(ipv4) != [4]uint32{0, 0, 0xffff, 0xc0000201} {
		t.Errorf("%v", ipv4)
	}
}

type ports struct{ lowest uint16 }

func (p ports) OnAnnounce(a Announce) Verdict {
	if a.Port < p.lowest {
		return RejectWith("port not allowed")
	}
	return Next
}

func TestAPolicyRunsAsItIs(t *testing.T) {
	Host = NewHost()
	filter := Hook[AnnounceFilter]("announce-filter")
	Register(func(c testConfig, _ Context) (ports, error) { return ports{c.Lowest}, nil })
	if err := Init(`{"lowest": 1024}`, Context{Name: "test"}); err != nil {
		t.Fatal(err)
	}
	if verdict := filter().OnAnnounce(Announce{Port: 80}); verdict != Reject || Host.Failure != "port not allowed" {
		t.Errorf("%v %q", verdict, Host.Failure)
	}
	hooks = nil
	Hook[Ticker]("ticker")
	err := Init(`{"lowest": 1024}`, Context{Name: "test"})
	if text(err) != "the world exports ticker, but karuta.ports has no method for it" {
		t.Error(err)
	}
	hooks = nil
}

func TestSourcesAreOpenedByName(t *testing.T) {
	Host = NewHost()
	Host.Sources = []Source{{Name: "users", Format: "strings", Strings: map[string]bool{"a": true}}}
	set, err := OpenSet("from", "users", "strings")
	if err != nil || !set.HasString("a") || set.HasString("b") {
		t.Errorf("%v %v", set, err)
	}
	if _, err := OpenSet("from", "users", "info-hashes"); text(err) != "from: the data source `users` has the format strings, expected info-hashes" {
		t.Error(err)
	}
	if _, err := OpenSet("from", "none", "strings"); text(err) != "from: there is no data source `none`, expected one that `data` declares" {
		t.Error(err)
	}
}

func TestTimeIsRoundedToTheUnitsOfTheContract(t *testing.T) {
	for _, c := range []struct {
		duration              time.Duration
		up, down, upToMinutes uint32
	}{
		{0, 0, 0, 0},
		{-time.Second, 0, 0, 0},
		{1, 1, 0, 1},
		{time.Minute, 60, 60, 1},
		{time.Minute + 1, 61, 60, 2},
		{1<<63 - 1, 1<<32 - 1, 1<<32 - 1, 153722868},
	} {
		up, down, upToMinutes := seconds(c.duration), wholeSeconds(c.duration), minutes(c.duration)
		if up != c.up || down != c.down || upToMinutes != c.upToMinutes {
			t.Errorf("%v: %v %v %v", c.duration, up, down, upToMinutes)
		}
	}
}

func TestWhatAClientDidNotSayIsMissing(t *testing.T) {
	Host = NewHost()
	if _, said := Left(); said {
		t.Error("the client said nothing")
	}
	left := uint64(0)
	Host.Left = &left
	if left, said := Left(); left != 0 || !said {
		t.Errorf("%v %v", left, said)
	}
	RetryIn(90 * time.Second)
	if *Host.RetryIn != 2*time.Minute {
		t.Error(Host.RetryIn)
	}
}
