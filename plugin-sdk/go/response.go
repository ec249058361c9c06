package karuta

import "fmt"

// RejectWith rejects the request with a `failure reason`.
func RejectWith(reason string) Verdict {
	Fail(reason)
	return Reject
}

// Log writes a line to the tracker's log.
func Log(level Level, format string, values ...any) {
	if LogEnabled(level) {
		write(level, fmt.Sprintf(format, values...))
	}
}

// Set is a data source in the format `info-hashes`, `addresses` or `strings`.
type Set uint32

// OpenSet opens the set of the data source that the key at `path` in the configuration names. It
// must be declared, in that format.
func OpenSet(path, name, format string) (Set, error) {
	for _, source := range Sources() {
		switch {
		case source[0] != name:
		case source[1] != format:
			return 0, ErrorAt(path, "the data source `%s` has the format %s, expected %s", name, source[1], format)
		default:
			return open(name)
		}
	}
	return 0, ErrorAt(path, "there is no data source `%s`, expected one that `data` declares", name)
}
