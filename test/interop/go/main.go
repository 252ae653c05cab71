// Command peer is a unibus peer in Go that has its own cryptography and shares no code with unibus: it signs requests,
// verifies a room's statements, opens its sealed keys, logs in to NATS by nkey, and reads and writes frames.
//
// The first line of its input is its configuration; each later line is an order. It prints one line of JSON per
// event. With the argument "envelopes", it reads payloads in hex and prints what each one says.
package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

type settings struct {
	HTTP     string          `json:"http"`
	NATS     string          `json:"nats"`
	Identity json.RawMessage `json:"identity"`
	RoomID   string          `json:"room_id"`
}

type order struct {
	// refresh, history, send, react or request.
	Do string `json:"do"`
	// The kind of a message that is sent; empty for a text.
	Kind    string `json:"kind"`
	Text    string `json:"text"`
	Thread  string `json:"thread"`
	ReplyTo string `json:"reply_to"`
}

type peer struct {
	settings
	me    *Identity
	lock  sync.Mutex
	room  *Room
	conn  *nats.Conn
	print func(event map[string]any)
}

func (p *peer) current() *Room {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.room
}

func (p *peer) refresh() error {
	room, err := readRoom(p.me, p.HTTP, p.RoomID)
	if err != nil {
		return err
	}
	p.lock.Lock()
	p.room = room
	p.lock.Unlock()
	p.print(map[string]any{"event": "room", "subject": room.Subject, "epoch": room.Epoch, "keys": len(room.keys)})
	return nil
}

func (p *peer) event(name string, wire []byte) map[string]any {
	frame, payload, err := p.current().open(wire)
	if err != nil {
		return map[string]any{"event": name, "error": err.Error()}
	}
	read, err := readEnvelope(frame.T, payload)
	if err != nil {
		return map[string]any{"event": name, "error": err.Error()}
	}
	return map[string]any{"event": name, "id": frame.ID, "from": frame.From, "epoch": frame.E, "type": frame.T,
		"kind": read.Kind, "text": string(read.Body), "thread": frame.Thr, "reply_to": frame.Re}
}

// dial logs in: it signs the text of kind nats, never the bare nonce.
func (p *peer) dial() error {
	nkey, err := nkeys.Encode(nkeys.PrefixByteUser, p.me.signPub())
	if err != nil {
		return err
	}
	address, err := url.Parse(p.NATS)
	if err != nil {
		return err
	}
	sign := func(nonce []byte) ([]byte, error) {
		return ed25519.Sign(p.me.signPriv, []byte("unibus-nats-v2\n"+strings.ToLower(address.Host)+"\n"+string(nonce))), nil
	}
	p.conn, err = nats.Connect(p.NATS, nats.Nkey(string(nkey), sign), nats.NoReconnect())
	if err != nil {
		return err
	}
	_, err = p.conn.Subscribe(p.current().Subject, func(msg *nats.Msg) {
		event := p.event("heard", msg.Data)
		if event["from"] == p.me.Endpoint {
			return
		}
		p.print(event)
		if msg.Reply != "" && event["text"] == "ping from the SDK" {
			p.answer(msg.Reply, event)
		}
	})
	if err != nil {
		return err
	}
	return p.conn.Flush()
}

func (p *peer) answer(reply string, request map[string]any) {
	_, wire, err := p.current().seal(p.me, 0, []byte("pong from Go"), "", request["id"].(string))
	if err == nil {
		err = p.conn.Publish(reply, wire)
	}
	if err != nil {
		p.print(map[string]any{"event": "failed", "error": err.Error()})
	}
}

// ask publishes a frame and passes each answer to done until done returns true. The reply subject cannot be guessed.
func (p *peer) ask(kind string, msg *nats.Msg, done func(data []byte) bool) error {
	names := make([]byte, 32)
	if _, err := rand.Read(names); err != nil {
		return err
	}
	// A random session and token: a peer that cannot guess the subject cannot send junk to it.
	msg.Reply = fmt.Sprintf("_INBOX.%s.%s.%x.%x", p.me.Endpoint, kind, names[:16], names[16:])
	answers, err := p.conn.SubscribeSync(msg.Reply)
	if err != nil {
		return err
	}
	defer func() { _ = answers.Unsubscribe() }()
	if err := p.conn.PublishMsg(msg); err != nil {
		return err
	}
	for end := time.Now().Add(10 * time.Second); ; {
		answer, err := answers.NextMsg(time.Until(end))
		if err != nil {
			return err
		}
		if done(answer.Data) {
			return nil
		}
	}
}

// send publishes a frame and waits for the ack of the room's stream.
func (p *peer) send(kind int, given order) error {
	fields := []Field{}
	if given.Kind != "" {
		fields = append(fields, Field{Tag: 1, Value: []byte(given.Kind)})
	}
	payload := writeEnvelope(fields, []byte(given.Text))
	frame, wire, err := p.current().seal(p.me, kind, payload, given.Thread, given.ReplyTo)
	if err != nil {
		return err
	}
	msg := nats.NewMsg(p.current().Subject)
	msg.Data = wire
	msg.Header.Set("Nats-Msg-Id", p.me.Endpoint+"."+frame.ID)
	return p.ask("a", msg, func(data []byte) bool {
		var ack struct {
			Stream string `json:"stream"`
			Seq    int64  `json:"seq"`
		}
		if json.Unmarshal(data, &ack) != nil || ack.Stream != "UNIBUS_"+p.RoomID {
			return false
		}
		p.print(map[string]any{"event": "sent", "id": frame.ID, "seq": ack.Seq})
		return true
	})
}

// request asks the room and prints the answer. The stream's ack arrives on the same subject and is skipped.
func (p *peer) request(text string) error {
	frame, wire, err := p.current().seal(p.me, 0, writeEnvelope(nil, []byte(text)), "", "")
	if err != nil {
		return err
	}
	msg := nats.NewMsg(p.current().Subject)
	msg.Data = wire
	return p.ask("r", msg, func(data []byte) bool {
		event := p.event("answer", data)
		if event["reply_to"] != frame.ID {
			return false
		}
		p.print(event)
		return true
	})
}

func (p *peer) history() error {
	var reply struct {
		Messages [][]byte `json:"messages"`
	}
	if err := p.me.get(p.HTTP, "/rooms/"+p.RoomID+"/history?limit=100", &reply); err != nil {
		return err
	}
	events := []map[string]any{}
	for _, wire := range reply.Messages {
		events = append(events, p.event("kept", wire))
	}
	p.print(map[string]any{"event": "history", "messages": events})
	return nil
}

func (p *peer) do(given order) error {
	switch given.Do {
	case "refresh":
		return p.refresh()
	case "history":
		return p.history()
	case "send":
		return p.send(0, given)
	case "react":
		return p.send(6, given)
	case "request":
		return p.request(given.Text)
	}
	return fmt.Errorf("what is %q", given.Do)
}

func run() error {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 1<<20)
	if !input.Scan() {
		return fmt.Errorf("no input")
	}
	var lock sync.Mutex
	output := json.NewEncoder(os.Stdout)
	p := &peer{print: func(event map[string]any) {
		lock.Lock()
		defer lock.Unlock()
		_ = output.Encode(event)
	}}
	if err := json.Unmarshal(input.Bytes(), &p.settings); err != nil {
		return err
	}
	me, err := readIdentity(p.Identity)
	if err != nil {
		return err
	}
	p.me = me
	if err := p.refresh(); err != nil {
		return err
	}
	if err := p.dial(); err != nil {
		return err
	}
	defer p.conn.Close()
	p.print(map[string]any{"event": "ready", "endpoint": me.Endpoint})
	for input.Scan() {
		var given order
		err := json.Unmarshal(input.Bytes(), &given)
		if err == nil {
			err = p.do(given)
		}
		if err != nil {
			p.print(map[string]any{"event": "failed", "error": err.Error()})
		}
	}
	return input.Err()
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "envelopes" {
		if err := describeEnvelopes(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
