//go:build wasm

package main

// What plugin.yaml's world exports, as `karuta plugin build` generates it.
import _ "karuta/bindings/wit_exports"
