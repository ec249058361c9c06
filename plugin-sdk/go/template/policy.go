// Command __NAME__ rejects announces of ports below a lowest one.
package main

import "karuta"

type config struct {
	LowestPort uint16 `json:"lowest_port" karuta:"required"`
}

type ports struct{ lowest uint16 }

func (p ports) OnAnnounce(a karuta.Announce) karuta.Verdict {
	if a.Port < p.lowest {
		return karuta.RejectWith("port not allowed")
	}
	return karuta.Next
}

func init() {
	karuta.Register(func(c config, _ karuta.Context) (ports, error) {
		return ports{c.LowestPort}, nil
	})
}

func main() {}
