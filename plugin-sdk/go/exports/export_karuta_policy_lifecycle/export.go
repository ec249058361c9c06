//go:build wasm

// Package export_karuta_policy_lifecycle has the functions that the generated bindings call.
package export_karuta_policy_lifecycle

import (
	"strings"

	"karuta"
	"karuta/bindings/karuta_policy_lifecycle"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Init creates the instance.
func Init(c karuta_policy_lifecycle.Context) wit.Result[wit.Unit, string] {
	context := karuta.Context{
		Name: strings.Clone(c.Name), Role: karuta.Role(c.Role), Worker: c.Worker, Workers: c.Workers,
	}
	return karuta.Returned(karuta.Init(c.Config, context))
}
