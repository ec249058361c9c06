//go:build wasm

// Package export_karuta_policy_ticker has the functions that the generated bindings call.
package export_karuta_policy_ticker

import (
	"time"

	"karuta"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

var policy = karuta.Hook[karuta.Ticker]("ticker")

// Tick does the periodic work.
func Tick(unixMs uint64) wit.Result[wit.Unit, string] {
	return karuta.Returned(policy().Tick(time.UnixMilli(int64(unixMs))))
}
