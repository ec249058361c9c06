// Package karuta is the SDK for policies of the Karuta tracker in Go. A policy is a value with a method
// for each hook of its world, and one call registers how it is created.
//
//	type Config struct {
//		Lowest uint16 `json:"lowest"`
//	}
//
//	type ports struct{ lowest uint16 }
//
//	func (p ports) OnAnnounce(a karuta.Announce) karuta.Verdict {
//		if a.Port < p.lowest {
//			return karuta.RejectWith("port not allowed")
//		}
//		return karuta.Next
//	}
//
//	func init() {
//		karuta.Register(func(c Config, _ karuta.Context) (ports, error) {
//			return ports{c.Lowest}, nil
//		})
//	}
//
// Built for any other target than WebAssembly, the host functions are those of [Host], so that
// `go test` runs a policy as it is.
//
// Time is [time.Duration] or [time.Time], rounded to the contract's whole seconds or minutes. What a
// client did not say is a false second result of a function, and a nil pointer in a structure.
package karuta

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
)

// AnnounceFilter decides on announces.
type AnnounceFilter interface{ OnAnnounce(Announce) Verdict }

// ScrapeFilter decides on each info-hash of a scrape.
type ScrapeFilter interface{ OnScrape(Scrape) Verdict }

// DataSink receives raw data, before the first request of an instance. An error refuses the version.
type DataSink interface {
	OnData(name string, version uint64, data []byte) error
}

// PeerRanker returns indices of candidates, best first.
type PeerRanker interface {
	Rank(Announce, []Candidate) []uint32
}

// Observer receives how announces ended, on the control instance. After an error the batch is offered
// again, three times in all.
type Observer interface{ Observe([]Outcome) error }

// Ticker runs every `tick` of the configuration, on the control instance.
type Ticker interface{ Tick(now time.Time) error }

// Role is what an instance is for.
type Role uint8

// What an instance is for: requests on one worker, the control instance, a trial run.
const (
	Worker Role = iota
	Control
	Trial
)

// Context is what an instance knows about itself.
type Context struct {
	// Name is the policy's name in the configuration.
	Name string
	Role Role
	// Worker is the number of the worker, from zero, of Workers.
	Worker, Workers uint32
}

var (
	instance any
	hooks    []func(any) error
	initiate = func(string, Context) error { return errors.New("karuta.Register was not called") }
)

// Register sets how an instance of the policy is created from its `config`. Call it once, in an init
// function. The operator sees the error; if it begins with a path into the configuration ([ErrorAt]),
// it is shown at that key.
func Register[C, P any](create func(C, Context) (P, error)) {
	initiate = func(config string, context Context) error {
		var into C
		if err := ReadConfig(config, &into); err != nil {
			return err
		}
		policy, err := create(into, context)
		if err != nil {
			return err
		}
		for _, hook := range hooks {
			if err := hook(policy); err != nil {
				return err
			}
		}
		instance = policy
		return nil
	}
}

// Hook returns the policy as what an exported interface calls. It is for the packages in exports.
func Hook[H any](name string) func() H {
	var hook H
	hooks = append(hooks, func(policy any) error {
		var is bool
		if hook, is = policy.(H); !is {
			return fmt.Errorf("the world exports %s, but %T has no method for it", name, policy)
		}
		return nil
	})
	return func() H { return hook }
}

// Init creates the instance. It is for the packages in exports, and for tests.
func Init(config string, context Context) error { return initiate(config, context) }

// Instance returns the policy that [Init] created.
func Instance() any { return instance }

// ErrorAt returns an error about the key at a path in `config`, such as `allow[2]`.
func ErrorAt(path, format string, values ...any) error {
	return fmt.Errorf("%s: %s", path, fmt.Sprintf(format, values...))
}

// ReadConfig reads a policy's `config` into a structure. Keys that the structure has no field for
// are an error, and so are missing keys of fields that have the tag `karuta:"required"`.
func ReadConfig(config string, into any) error {
	if err := decode(config, into); err != nil {
		return err
	}
	var found map[string]json.RawMessage
	_ = json.Unmarshal([]byte(config), &found)
	kind := reflect.TypeOf(into).Elem()
	for at := 0; kind.Kind() == reflect.Struct && at < kind.NumField(); at++ {
		tag := kind.Field(at).Tag
		key, _, _ := strings.Cut(tag.Get("json"), ",")
		if _, is := found[key]; !is && tag.Get("karuta") == "required" {
			return fmt.Errorf("missing key `%s`", key)
		}
	}
	return nil
}

func decode(config string, into any) error {
	decoder := json.NewDecoder(bytes.NewReader([]byte(config)))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == io.EOF {
		return nil
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		if wrong.Field == "" {
			return errors.New("the configuration is not a mapping")
		}
		return ErrorAt(wrong.Field, "found a %s, expected %s", wrong.Value, wrong.Type)
	}
	if err != nil {
		if key, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
			return ErrorAt(strings.Trim(key, `"`), "unknown key")
		}
	}
	return err
}
