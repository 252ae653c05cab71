// Command frames writes test/golden/frames.json: frames as Go's encoding/json writes them, and texts that are no frames,
// each with what Go makes of it. It shares no code with unibus.
//
//	go run . > ../../frames.json
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// BlobRef is the reference of a blob in wire format v1.
type BlobRef struct {
	H  string `json:"h"`
	N  []byte `json:"n"`
	Sz int64  `json:"sz"`
}

// Frame is wire format v1: the order of the fields is that of the keys.
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

// Sample is one frame: its bytes, and its byte fields apart, in hex. Of one too large for the file only size and hash.
type Sample struct {
	Name  string            `json:"name"`
	Frame map[string]any    `json:"frame"`
	Hex   map[string]string `json:"hex"`
	// PayloadBytes is the length of a payload of zeros that is too long for the file, else 0.
	PayloadBytes int    `json:"payload_bytes"`
	Wire         string `json:"wire,omitempty"`
	WireBytes    int    `json:"wire_bytes"`
	WireSha256   string `json:"wire_sha256"`
}

// Hostile is a text that is no frame. Go says what encoding/json does with it: "refuses", "changes" (it parses, and writes
// other bytes) or "keeps" (only the closed grammar refuses it).
type Hostile struct {
	Name  string `json:"name"`
	Bytes string `json:"bytes"`
	Go    string `json:"go"`
}

const frameBytesMax = 1 << 20

// stream gives n bytes that depend on a name alone.
func stream(name string, n int) []byte {
	var out []byte
	for i := 0; len(out) < n; i++ {
		block := sha256.Sum256([]byte(fmt.Sprint(name, " ", i)))
		out = append(out, block[:]...)
	}
	return out[:n]
}

func ulid(name string) string {
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	id := []byte{}
	for i, b := range stream(name, 26) {
		if i == 0 {
			b %= 8
		}
		id = append(id, digits[b%32])
	}
	return string(id)
}

func endpoint(name string) string {
	return base64.RawURLEncoding.EncodeToString(stream(name, 32))
}

func blobRef(name string, sz int64) *BlobRef {
	return &BlobRef{hex.EncodeToString(stream(name+" h", 32)), stream(name+" n", 24), sz}
}

func encode(f Frame) []byte {
	wire, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return wire
}

func sampleOf(name string, f Frame) Sample {
	wire := encode(f)
	sum := sha256.Sum256(wire)
	s := Sample{Name: name, Hex: map[string]string{}, WireBytes: len(wire), WireSha256: hex.EncodeToString(sum[:])}
	if len(wire) > 4096 {
		s.PayloadBytes = len(f.P)
		f.P = nil
	} else {
		s.Wire = string(wire)
	}
	if err := json.Unmarshal(encode(f), &s.Frame); err != nil {
		panic(err)
	}
	for key, value := range map[string][]byte{"n": f.N, "p": f.P, "sig": f.Sig} {
		if len(value) > 0 {
			s.Hex[key] = hex.EncodeToString(value)
		}
	}
	if f.B != nil {
		s.Hex["b.n"] = hex.EncodeToString(f.B.N)
	}
	return s
}

func plain(name string) Frame {
	return Frame{S: "room.general", From: endpoint(name), ID: ulid(name), E: 1}
}

// samples are every combination of the optional fields, then the ends of every range.
func samples() []Sample {
	var all []Sample
	epochs := []int64{1, 2, 9, 10, 1<<31 - 1}
	for set := 0; set < 1<<6; set++ {
		name := fmt.Sprintf("fields %06b", set)
		f := plain(name)
		f.T, f.E = set%7, epochs[set%len(epochs)]
		has := func(bit int) bool { return set&(1<<bit) != 0 }
		if has(0) {
			f.N = stream(name+" n", 24)
		}
		if has(1) {
			f.P = stream(name+" p", 1+set%50)
		}
		if has(2) {
			f.B = blobRef(name, int64(set)*1000)
		}
		if has(3) {
			f.Sig = stream(name+" sig", 64)
		}
		if has(4) {
			f.Thr = ulid(name + " thr")
		}
		if has(5) {
			f.Re = ulid(name + " re")
		}
		all = append(all, sampleOf(name, f))
	}
	add := func(name string, change func(f *Frame)) {
		f := plain(name)
		change(&f)
		all = append(all, sampleOf(name, f))
	}
	for t := 0; t <= 6; t++ {
		add(fmt.Sprint("type ", t), func(f *Frame) { f.T = t })
	}
	for n := 1; n <= 7; n++ {
		add(fmt.Sprint("payload of ones, bytes ", n), func(f *Frame) { f.P = bytes.Repeat([]byte{255}, n) })
	}
	add("payload of zeros", func(f *Frame) { f.P = make([]byte, 3) })
	add("payload of every byte", func(f *Frame) {
		for b := 0; b < 256; b++ {
			f.P = append(f.P, byte(b))
		}
	})
	add("shortest subject", func(f *Frame) { f.S = "a.b" })
	add("subject of every character", func(f *Frame) { f.S = "proc.ABCXYZ.abcxyz.0189_-.-._" })
	add("longest subject", func(f *Frame) { f.S = "room." + strings.Repeat("x", 195) })
	add("least ids", func(f *Frame) { f.ID = strings.Repeat("0", 26); f.Re = f.ID; f.Thr = f.ID })
	add("greatest ids", func(f *Frame) { f.ID = "7" + strings.Repeat("Z", 25); f.Re = f.ID; f.Thr = f.ID })
	add("least blob", func(f *Frame) { f.B = &BlobRef{strings.Repeat("0", 64), make([]byte, 24), 0} })
	add("greatest blob", func(f *Frame) { f.B = &BlobRef{strings.Repeat("f", 64), bytes.Repeat([]byte{255}, 24), 1 << 24} })
	for under := 0; under < 4; under++ {
		add(fmt.Sprint("under 1 MiB by ", under), func(f *Frame) { fill(f, frameBytesMax-under) })
	}
	return all
}

// fill gives a frame a payload and a subject that make it exactly so long.
func fill(f *Frame, size int) {
	f.P = make([]byte, 3*((size-len(encode(*f))-len(`,"p":""`))/4))
	f.S += strings.Repeat("x", size-len(encode(*f)))
	if len(encode(*f)) != size {
		panic(size)
	}
}

func hostileOf(name, text string) Hostile {
	h := Hostile{Name: name, Bytes: base64.StdEncoding.EncodeToString([]byte(text)), Go: "refuses"}
	var f Frame
	if json.Unmarshal([]byte(text), &f) == nil {
		h.Go = "changes"
		if again, err := json.Marshal(f); err == nil && string(again) == text {
			h.Go = "keeps"
		}
	}
	return h
}

func main() {
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	if err := out.Encode(map[string]any{"frames": samples(), "hostile": hostiles()}); err != nil {
		panic(err)
	}
}
