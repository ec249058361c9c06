//go:build wasm

// Package export_karuta_policy_ticker is what the generated bindings call.
package export_karuta_policy_ticker

import (
	"karuta"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

var policy = karuta.Hook[karuta.Ticker]("ticker")

// Tick does what there is to do.
func Tick(unixMs uint64) wit.Result[wit.Unit, string] {
	return karuta.Returned(policy().Tick(unixMs))
}
