//go:build wasm

// Package export_karuta_policy_data_sink has the functions that the generated bindings call.
package export_karuta_policy_data_sink

import (
	"karuta"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

var policy = karuta.Hook[karuta.DataSink]("data-sink")

// OnData receives raw data.
func OnData(name string, version uint64, data []uint8) wit.Result[wit.Unit, string] {
	return karuta.Returned(policy().OnData(name, version, data))
}
