package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Identity holds a peer's two key pairs.
type Identity struct {
	Endpoint string
	signPriv ed25519.PrivateKey
	kexPub   [32]byte
	kexPriv  [32]byte
}

func endpointOf(signPub []byte) string {
	sum := sha256.Sum256(signPub)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (me *Identity) signPub() ed25519.PublicKey {
	return me.signPriv.Public().(ed25519.PublicKey)
}

// readIdentity parses an identity file.
func readIdentity(text []byte) (*Identity, error) {
	var file struct {
		SignPriv []byte `json:"sign_priv"`
		KexPub   []byte `json:"kex_pub"`
		KexPriv  []byte `json:"kex_priv"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	if len(file.SignPriv) != ed25519.PrivateKeySize || len(file.KexPub) != 32 || len(file.KexPriv) != 32 {
		return nil, fmt.Errorf("this is no identity")
	}
	me := &Identity{signPriv: ed25519.PrivateKey(file.SignPriv)}
	copy(me.kexPub[:], file.KexPub)
	copy(me.kexPriv[:], file.KexPriv)
	me.Endpoint = endpointOf(me.signPub())
	return me, nil
}

// get sends a signed request and decodes the answer into reply.
func (me *Identity) get(base, target string, reply any) error {
	address, err := url.Parse(base)
	if err != nil {
		return err
	}
	raw := make([]byte, 16)
	if _, err := rand.Read(raw); err != nil {
		return err
	}
	nonce := base64.StdEncoding.EncodeToString(raw)
	ts := strconv.FormatInt(time.Now().Unix(), 10)
	empty := sha256.Sum256(nil)
	body := hex.EncodeToString(empty[:])
	host := strings.ToLower(address.Host)
	text := strings.Join([]string{"unibus-request-v1", host, "GET", target, ts, nonce, body}, "\n")
	request, err := http.NewRequest("GET", base+target, nil)
	if err != nil {
		return err
	}
	request.Header.Set("X-Unibus-Host", host)
	request.Header.Set("X-Unibus-Pub", hex.EncodeToString(me.signPub()))
	request.Header.Set("X-Unibus-Ts", ts)
	request.Header.Set("X-Unibus-Nonce", nonce)
	request.Header.Set("X-Unibus-Body", body)
	request.Header.Set("X-Unibus-Sig", base64.StdEncoding.EncodeToString(ed25519.Sign(me.signPriv, []byte(text))))
	answer, err := (&http.Client{Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(io.LimitReader(answer.Body, 32<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %d %s", target, answer.StatusCode, content)
	}
	return json.NewDecoder(bytes.NewReader(content)).Decode(reply)
}
