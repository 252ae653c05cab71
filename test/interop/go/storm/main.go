// Command storm holds many connections of stock nats.go clients, with the library's default reconnect settings.
//
// The first line of its input says where to connect, as which users, and how many times. For each further line of any
// content it prints the state of the connections as a line of JSON.
package main

import (
	"bufio"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

type settings struct {
	NATS string `json:"nats"`
	// Seeds of the users' keys, base64.
	Seeds       []string `json:"seeds"`
	Connections int      `json:"connections"`
	// Whether to sign the bare nonce, as stock tools do, instead of the text of kind nats.
	Stock bool `json:"stock"`
}

// atOnce is the number of connections opened concurrently before the storm.
const atOnce = 100

// counts is the state of the connections; closed ones never reconnect.
type counts struct {
	Connected  int64 `json:"connected"`
	Closed     int64 `json:"closed"`
	Lost       int64 `json:"lost"`
	Back       int64 `json:"back"`
	AuthErrors int64 `json:"auth_errors"`
	// LastBack is when the last connection was back, in milliseconds since the first one was lost.
	LastBack int64 `json:"last_back_ms"`
}

type storm struct {
	lock      sync.Mutex
	firstLost time.Time
	counts
	conns []*nats.Conn
}

func (s *storm) lost(_ *nats.Conn, _ error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.firstLost.IsZero() {
		s.firstLost = time.Now()
	}
	s.Lost++
}

func (s *storm) back(_ *nats.Conn) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.Back++
	s.LastBack = time.Since(s.firstLost).Milliseconds()
}

// closed counts a connection that gave up.
func (s *storm) closed(_ *nats.Conn) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.Closed++
}

func (s *storm) failed(_ *nats.Conn, _ *nats.Subscription, err error) {
	if strings.Contains(strings.ToLower(err.Error()), "authorization") {
		atomic.AddInt64(&s.AuthErrors, 1)
	}
}

// report does not query connections, because a reconnecting one holds its lock for seconds.
func (s *storm) report() counts {
	s.lock.Lock()
	defer s.lock.Unlock()
	now := s.counts
	now.AuthErrors = atomic.LoadInt64(&s.AuthErrors)
	now.Connected = int64(len(s.conns)) - now.Lost + now.Back - now.Closed
	return now
}

// dial connects and retries, because the login limit applies before the storm, too.
func (s *storm) dial(given settings, seed []byte) (*nats.Conn, error) {
	address, err := url.Parse(given.NATS)
	if err != nil {
		return nil, err
	}
	key := ed25519.NewKeyFromSeed(seed)
	nkey, err := nkeys.Encode(nkeys.PrefixByteUser, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	sign := func(nonce []byte) ([]byte, error) {
		text := string(nonce)
		if !given.Stock {
			text = "unibus-nats-v2\n" + strings.ToLower(address.Host) + "\n" + text
		}
		return ed25519.Sign(key, []byte(text)), nil
	}
	for end := time.Now().Add(2 * time.Minute); ; {
		// Use the default reconnect settings: 60 attempts, 2 s apart, each of at most 2 s.
		conn, err := nats.Connect(given.NATS, nats.Nkey(string(nkey), sign), nats.DisconnectErrHandler(s.lost),
			nats.ReconnectHandler(s.back), nats.ClosedHandler(s.closed), nats.ErrorHandler(s.failed))
		if err == nil || time.Now().After(end) {
			return conn, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func run() error {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 1<<24)
	if !input.Scan() {
		return fmt.Errorf("no input")
	}
	var given settings
	if err := json.Unmarshal(input.Bytes(), &given); err != nil {
		return err
	}
	s := &storm{conns: make([]*nats.Conn, given.Connections)}
	errs := make(chan error, given.Connections)
	places := make(chan struct{}, atOnce)
	for i := range given.Connections {
		seed, err := base64.StdEncoding.DecodeString(given.Seeds[i%len(given.Seeds)])
		if err != nil {
			return err
		}
		places <- struct{}{}
		go func() {
			conn, err := s.dial(given, seed)
			s.lock.Lock()
			s.conns[i] = conn
			s.lock.Unlock()
			errs <- err
			<-places
		}()
	}
	for range given.Connections {
		if err := <-errs; err != nil {
			return err
		}
	}
	output := json.NewEncoder(os.Stdout)
	for ok := true; ok; ok = input.Scan() {
		if err := output.Encode(s.report()); err != nil {
			return err
		}
	}
	return input.Err()
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
