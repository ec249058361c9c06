//go:build wasm

// Package export_karuta_policy_observer has the functions that the generated bindings call.
package export_karuta_policy_observer

import (
	"math"
	"time"

	"karuta"
	"karuta/bindings/karuta_policy_observer"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

var policy = karuta.Hook[karuta.Observer]("observer")

// Observe receives how announces ended.
func Observe(batch []karuta_policy_observer.Outcome) wit.Result[wit.Unit, string] {
	outcomes := make([]karuta.Outcome, len(batch))
	for at, o := range batch {
		attributes := make(map[string]string, len(o.Attributes))
		for _, attribute := range o.Attributes {
			attributes[attribute.F0] = attribute.F1
		}
		outcomes[at] = karuta.Outcome{
			ID:              o.Id,
			Announce:        karuta.AnnounceOf(o.Announce),
			PeerID:          o.PeerId,
			Credential:      o.Credential.SomeOr(""),
			Attributes:      attributes,
			Verdict:         karuta.Verdict(o.Verdict),
			DecidedBy:       o.DecidedBy.SomeOr(""),
			Uploaded:        o.Uploaded,
			Downloaded:      o.Downloaded,
			UploadedDelta:   o.UploadedDelta,
			DownloadedDelta: o.DownloadedDelta,
			Time:            time.UnixMilli(int64(o.UnixMs)),
		}
		if o.Left != math.MaxUint64 {
			outcomes[at].Left = &o.Left
		}
		if o.SecondsSincePrevious.IsSome() {
			since := time.Duration(o.SecondsSincePrevious.Some()) * time.Second
			outcomes[at].SincePrevious = &since
		}
	}
	return karuta.Returned(policy().Observe(outcomes))
}
