//go:build wasm

// Package http sends requests from the control instance, to what `allow.http` lists.
package http

import (
	"errors"
	"time"

	"karuta/bindings/karuta_policy_http"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

// Response is a whole answer, of at most 8 MiB.
type Response struct {
	Status  uint16
	Headers [][2]string
	Body    []byte
}

// Fetch sends a request and waits for the whole answer. A status is not an error.
func Fetch(method, url string, headers [][2]string, body []byte, timeout time.Duration) (Response, error) {
	var tuples []wit.Tuple2[string, string]
	for _, header := range headers {
		tuples = append(tuples, wit.Tuple2[string, string]{F0: header[0], F1: header[1]})
	}
	result := karuta_policy_http.Fetch(method, url, tuples, body, uint32(timeout.Milliseconds()))
	if result.IsErr() {
		return Response{}, errors.New(result.Err())
	}
	answer := result.Ok()
	response := Response{Status: answer.Status, Body: answer.Body}
	for _, header := range answer.Headers {
		response.Headers = append(response.Headers, [2]string{header.F0, header.F1})
	}
	return response, nil
}
