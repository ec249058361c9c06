//go:build wasm

// Package export_karuta_policy_announce_filter has the functions that the generated bindings call.
package export_karuta_policy_announce_filter

import (
	"karuta"
	"karuta/bindings/karuta_policy_types"
)

var policy = karuta.Hook[karuta.AnnounceFilter]("announce-filter")

// OnAnnounce decides on one announce.
func OnAnnounce(announce karuta_policy_types.Announce) karuta_policy_types.Verdict {
	return uint8(policy().OnAnnounce(karuta.AnnounceOf(announce)))
}
