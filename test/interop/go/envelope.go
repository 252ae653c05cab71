package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Field is one field of an envelope's header.
type Field struct {
	Tag   byte
	Value []byte
}

// Envelope is what a payload says: its fields in order of their tags, and its body.
type Envelope struct {
	Kind   string
	Fields []Field
	Body   []byte
}

var (
	magic        = []byte{0x00, 0x75, 0x62, 0x01}
	errEnvelope  = errors.New("bad_envelope")
	kindShape    = regexp.MustCompile(`\A[a-z][a-z0-9.-]{0,31}\z`)
	mediaShape   = regexp.MustCompile(`\A[\x20-\x7e]{1,127}\z`)
	knownKinds   = strings.Fields("text data file edit delete react unreact pin title receipt")
	plainKinds   = map[int]string{1: "invite", 2: "join", 3: "leave", 4: "kick", 5: "ack"}
	bidiControls = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
	fieldNames   = map[byte]string{1: "kind", 2: "media_type", 3: "file_name", 4: "chain", 5: "heads", 6: "statement",
		7: "hops", 8: "void", 129: "parts"}
)

const (
	headerAt    = 6
	headerBytes = 1024
)

func isFileName(value []byte) bool {
	name := string(value)
	if len(value) < 1 || len(value) > 255 || !utf8.Valid(value) || name == "." || name == ".." || !norm.NFC.IsNormal(value) {
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool {
		return unicode.Is(unicode.Cc, r) || strings.ContainsRune(bidiControls+`/\`, r)
	}) == -1
}

// isList reports whether a value is 1 to most pieces of one size.
func isList(value []byte, size, most int) bool {
	return len(value)%size == 0 && len(value) >= size && len(value) <= size*most
}

func (f Field) isValid() bool {
	switch f.Tag {
	case 0:
		return false
	case 1:
		return kindShape.Match(f.Value)
	case 2:
		return mediaShape.Match(f.Value)
	case 3:
		return isFileName(f.Value)
	case 4:
		return isList(f.Value, 28, 1)
	case 5:
		return isList(f.Value, 28, 4)
	case 6:
		return isList(f.Value, 20, 1)
	case 7:
		return len(f.Value) == 1 && f.Value[0] <= 8
	case 8:
		return isList(f.Value, 4, 16)
	case 129:
		return isList(f.Value, 12, 1)
	}
	return true
}

// readEnvelope decodes the payload of a frame of some type.
func readEnvelope(kind int, payload []byte) (*Envelope, error) {
	if name, ok := plainKinds[kind]; ok {
		return &Envelope{Kind: name, Body: payload}, nil
	}
	if !bytes.HasPrefix(payload, magic) {
		name := "text"
		if kind == 6 {
			name = "react"
		}
		return &Envelope{Kind: name, Body: payload}, nil
	}
	if len(payload) < headerAt {
		return nil, errEnvelope
	}
	length := int(binary.BigEndian.Uint16(payload[len(magic):]))
	if length > headerBytes || len(payload) < headerAt+length {
		return nil, errEnvelope
	}
	read := &Envelope{Kind: "text", Body: payload[headerAt+length:]}
	isSupported := true
	for rest, last := payload[headerAt:headerAt+length], byte(0); len(rest) > 0; {
		if len(rest) < 3 {
			return nil, errEnvelope
		}
		end := 3 + int(binary.BigEndian.Uint16(rest[1:]))
		if end > len(rest) {
			return nil, errEnvelope
		}
		field := Field{Tag: rest[0], Value: rest[3:end]}
		if field.Tag <= last || !field.isValid() {
			return nil, errEnvelope
		}
		if field.Tag == 1 {
			read.Kind = string(field.Value)
		}
		if _, ok := fieldNames[field.Tag]; !ok && field.Tag >= 128 {
			isSupported = false
		}
		read.Fields = append(read.Fields, field)
		rest, last = rest[end:], field.Tag
	}
	if !isSupported || !isKnown(read.Kind) {
		read.Kind = "unsupported"
	}
	return read, nil
}

func isKnown(kind string) bool {
	for _, one := range knownKinds {
		if kind == one {
			return true
		}
	}
	return strings.HasPrefix(kind, "app.")
}

// writeEnvelope encodes an envelope; the fields are in order of their tags. Without fields, a body that cannot be
// mistaken for an envelope is bare.
func writeEnvelope(fields []Field, body []byte) []byte {
	if len(fields) == 0 && !bytes.HasPrefix(body, magic) {
		return body
	}
	header := []byte{}
	for _, field := range fields {
		header = append(header, field.Tag)
		header = binary.BigEndian.AppendUint16(header, uint16(len(field.Value)))
		header = append(header, field.Value...)
	}
	payload := binary.BigEndian.AppendUint16(append([]byte{}, magic...), uint16(len(header)))
	return append(append(payload, header...), body...)
}

// entries prints chain entries: id, number and hash of each.
func entries(value []byte) string {
	parts := []string{}
	for ; len(value) > 0; value = value[28:] {
		parts = append(parts, fmt.Sprintf("%x:%d:%x", value[:8], binary.BigEndian.Uint32(value[8:]), value[12:28]))
	}
	return strings.Join(parts, ":")
}

func (f Field) String() string {
	name, ok := fieldNames[f.Tag]
	if !ok {
		return fmt.Sprintf("%d=%x", f.Tag, f.Value)
	}
	shown := hex.EncodeToString(f.Value)
	switch f.Tag {
	case 4, 5:
		shown = entries(f.Value)
	case 6:
		shown = fmt.Sprintf("%d:%x", binary.BigEndian.Uint32(f.Value), f.Value[4:])
	case 7:
		shown = fmt.Sprint(f.Value[0])
	case 8:
		numbers := []string{}
		for rest := f.Value; len(rest) > 0; rest = rest[4:] {
			numbers = append(numbers, fmt.Sprint(binary.BigEndian.Uint32(rest)))
		}
		shown = strings.Join(numbers, ":")
	case 129:
		shown = fmt.Sprintf("%d:%d", binary.BigEndian.Uint64(f.Value), binary.BigEndian.Uint32(f.Value[8:]))
	}
	return name + "=" + shown
}

// envelopeLine describes a payload on one line: the kind, each field, the body.
func envelopeLine(payload []byte) string {
	read, err := readEnvelope(0, payload)
	if err != nil {
		return err.Error()
	}
	parts := []string{read.Kind}
	for _, field := range read.Fields {
		parts = append(parts, field.String())
	}
	return strings.Join(append(parts, fmt.Sprintf("body=%x", read.Body)), " ")
}

// describeEnvelopes reads payloads in hex, one a line, and prints what each one says.
func describeEnvelopes(input io.Reader, output io.Writer) error {
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, 1<<22)
	printed := bufio.NewWriter(output)
	for lines.Scan() {
		payload, err := hex.DecodeString(lines.Text())
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(printed, envelopeLine(payload)); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return printed.Flush()
}
