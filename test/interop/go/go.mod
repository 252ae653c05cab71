module unibus.test/interop

go 1.24.0

require (
	github.com/nats-io/nats.go v1.47.0
	github.com/nats-io/nkeys v0.4.12
	golang.org/x/crypto v0.45.0
	golang.org/x/text v0.31.0
)

require (
	github.com/klauspost/compress v1.18.0 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	golang.org/x/sys v0.38.0 // indirect
)
