module quiet-hours-go

go 1.25

require (
	go.bytecodealliance.org/pkg v0.2.3
	karuta v0.0.0
)

replace (
	go.bytecodealliance.org/pkg => ./karuta/pkg
	karuta => ./karuta
)
