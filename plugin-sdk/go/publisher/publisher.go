//go:build wasm

// Package publisher hands what the control instance learns to the workers.
package publisher

import (
	"errors"

	"karuta/bindings/karuta_policy_publisher"
)

// Publish hands a blob to every worker's DataSink. The newest of a name counts.
func Publish(name string, data []byte) error {
	if result := karuta_policy_publisher.Publish(name, data); result.IsErr() {
		return errors.New(result.Err())
	}
	return nil
}
