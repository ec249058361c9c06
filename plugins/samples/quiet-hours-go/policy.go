// Command quiet-hours-go rejects `started` announces of listed torrents between two times of day,
// and tells the client when to come back.
package main

import (
	"fmt"
	"time"

	"karuta"
)

const day = 24 * 60 * 60

type config struct {
	Torrents     []string `json:"torrents"`
	TorrentsFrom *string  `json:"torrents_from"`
	// From and To are times of day in UTC, as `22:00`.
	From string `json:"from" karuta:"required"`
	To   string `json:"to" karuta:"required"`
}

type quietHours struct {
	torrents map[karuta.InfoHash]bool
	set      *karuta.Set
	// from and to are seconds since midnight.
	from, to int64
	until    string
}

func create(c config, _ karuta.Context) (*quietHours, error) {
	p := &quietHours{torrents: map[karuta.InfoHash]bool{}, until: c.To}
	for at, text := range c.Torrents {
		hash, err := karuta.ParseInfoHash(text)
		if err != nil {
			return nil, karuta.ErrorAt(fmt.Sprintf("torrents[%d]", at), "%v", err)
		}
		p.torrents[hash] = true
	}
	if c.TorrentsFrom != nil {
		set, err := karuta.OpenSet("torrents_from", *c.TorrentsFrom, "info-hashes")
		if err != nil {
			return nil, err
		}
		p.set = &set
	}
	var err error
	if p.from, err = timeOfDay("from", c.From); err != nil {
		return nil, err
	}
	if p.to, err = timeOfDay("to", c.To); err != nil {
		return nil, err
	}
	if p.from == p.to {
		return nil, karuta.ErrorAt("to", "must differ from `from`")
	}
	return p, nil
}

func timeOfDay(path, text string) (int64, error) {
	clock, err := time.Parse("15:04", text)
	if err != nil || len(text) != 5 {
		return 0, karuta.ErrorAt(path, "must be a time of day such as 22:00")
	}
	return int64(clock.Hour()*3600 + clock.Minute()*60), nil
}

// until returns the seconds from one time of day to another.
func until(now, then int64) int64 { return (then - now + day) % day }

func (p *quietHours) OnAnnounce(a karuta.Announce) karuta.Verdict {
	if a.Event != karuta.Started {
		return karuta.Next
	}
	now := time.Now().Unix() % day
	quiet := until(now, p.to)
	isQuiet := quiet != 0 && quiet <= until(p.from, p.to)
	if !isQuiet || !p.torrents[a.InfoHash] && (p.set == nil || !p.set.HasInfoHash(a.InfoHash)) {
		border := quiet
		if !isQuiet {
			border = until(now, p.from)
		}
		remember(border)
		return karuta.Next
	}
	karuta.RetryIn(time.Duration(quiet) * time.Second)
	// The client gets whole minutes, rounded up. Remember only while they stay the same.
	remember((quiet-1)%60 + 1)
	return karuta.RejectWith("quiet hours until " + p.until + " UTC")
}

// remember remembers the verdict for one second less, because the current one has begun.
func remember(seconds int64) {
	if seconds > 1 {
		karuta.Remember(karuta.ByInfoHash|karuta.ByEvent, time.Duration(seconds-1)*time.Second)
	}
}

func init() { karuta.Register(create) }

func main() {}
