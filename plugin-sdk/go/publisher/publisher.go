//go:build wasm

// Package publisher passes data from the control instance to the workers.
package publisher

import (
	"errors"

	"karuta/bindings/karuta_policy_publisher"
)

// Publish passes data to every worker's DataSink, and replaces what was published under this name
// before.
func Publish(name string, data []byte) error {
	if result := karuta_policy_publisher.Publish(name, data); result.IsErr() {
		return errors.New(result.Err())
	}
	return nil
}
