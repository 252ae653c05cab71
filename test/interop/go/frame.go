package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// BlobRef is the reference of a blob in wire format v1.
type BlobRef struct {
	H  string `json:"h"`
	N  []byte `json:"n"`
	Sz int64  `json:"sz"`
}

// Frame is wire format v1; the keys are encoded in the order of the fields.
type Frame struct {
	T    int      `json:"t"`
	S    string   `json:"s"`
	From string   `json:"from"`
	ID   string   `json:"id"`
	E    int64    `json:"e"`
	N    []byte   `json:"n,omitempty"`
	P    []byte   `json:"p,omitempty"`
	B    *BlobRef `json:"b,omitempty"`
	Sig  []byte   `json:"sig,omitempty"`
	Thr  string   `json:"thr,omitempty"`
	Re   string   `json:"re,omitempty"`
}

func mustJSON(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}

// textOf returns the bytes to sign or bind: the room, and the frame without its signature (optionally without payload).
func textOf(roomID string, frame Frame, withPayload bool) []byte {
	frame.Sig = nil
	if !withPayload {
		frame.P = nil
	}
	return append([]byte("unibus-frame-v1\n"+roomID+"\n"), mustJSON(frame)...)
}

// open verifies and decrypts a frame, and returns its plaintext.
func (r *Room) open(wire []byte) (*Frame, []byte, error) {
	var frame Frame
	if err := json.Unmarshal(wire, &frame); err != nil {
		return nil, nil, err
	}
	if !bytes.Equal(mustJSON(frame), wire) {
		return nil, nil, errors.New("not canonical")
	}
	if frame.S != r.Subject {
		return nil, nil, errors.New("another room's subject")
	}
	sender := r.memberAt(frame.From, frame.E)
	if sender == nil {
		return nil, nil, errors.New("no member at that epoch")
	}
	if len(frame.Sig) != ed25519.SignatureSize || !ed25519.Verify(sender.signPub(), textOf(r.ID, frame, true), frame.Sig) {
		return nil, nil, errors.New("the signature does not hold")
	}
	key, ok := r.keys[frame.E]
	if !ok {
		return nil, nil, errors.New("no key of that epoch")
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, nil, err
	}
	if len(frame.N) != chacha20poly1305.NonceSizeX {
		return nil, nil, errors.New("no nonce")
	}
	payload, err := aead.Open(nil, frame.N, frame.P, textOf(r.ID, frame, false))
	return &frame, payload, err
}

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// newULID returns a new id: 48 bits of time, 80 random bits.
func newULID() string {
	var raw [16]byte
	ms := uint64(time.Now().UnixMilli())
	for i := 5; i >= 0; i-- {
		raw[i] = byte(ms)
		ms >>= 8
	}
	if _, err := rand.Read(raw[6:]); err != nil {
		panic(err)
	}
	// 26 letters of 5 bits are 130 bits, so two zero bits come first.
	id := make([]byte, 26)
	for i := range id {
		value := 0
		for bit := i*5 - 2; bit < i*5+3; bit++ {
			value <<= 1
			if bit >= 0 {
				value |= int(raw[bit/8]>>(7-bit%8)) & 1
			}
		}
		id[i] = crockford[value]
	}
	return string(id)
}

// seal encrypts and then signs a frame, as a member does.
func (r *Room) seal(me *Identity, kind int, payload []byte, thread, replyTo string) (*Frame, []byte, error) {
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	if _, err := rand.Read(nonce); err != nil {
		return nil, nil, err
	}
	frame := Frame{T: kind, S: r.Subject, From: me.Endpoint, ID: newULID(), E: r.Epoch, N: nonce, Thr: thread, Re: replyTo}
	aead, err := chacha20poly1305.NewX(r.keys[r.Epoch])
	if err != nil {
		return nil, nil, err
	}
	frame.P = aead.Seal(nil, nonce, payload, textOf(r.ID, frame, false))
	frame.Sig = ed25519.Sign(me.signPriv, textOf(r.ID, frame, true))
	return &frame, mustJSON(frame), nil
}
