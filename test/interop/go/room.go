package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/crypto/nacl/box"
)

const zeroHash = "0000000000000000000000000000000000000000000000000000000000000000"

// Member is one membership period of one member.
type Member struct {
	Endpoint string `json:"endpoint"`
	SignPub  string `json:"sign_pub"`
	KexPub   string `json:"kex_pub"`
	KexSig   []byte `json:"kex_sig"`
	Role     string `json:"role"`
	Since    int64  `json:"since"`
	Until    int64  `json:"until"`
}

func (m *Member) signPub() ed25519.PublicKey {
	key, err := hex.DecodeString(m.SignPub)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return make(ed25519.PublicKey, ed25519.PublicKeySize)
	}
	return key
}

// Room is a room as its owners signed it, with the keys of the epochs in which this peer was a member.
type Room struct {
	ID      string
	Subject string
	Epoch   int64
	members []Member
	keys    map[int64][]byte
}

func (r *Room) memberAt(endpoint string, epoch int64) *Member {
	for i := range r.members {
		m := &r.members[i]
		if m.Endpoint == endpoint && m.Since <= epoch && (m.Until == 0 || epoch < m.Until) {
			return m
		}
	}
	return nil
}

func sha256Hex(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

type statement struct {
	Version int64  `json:"version"`
	Text    string `json:"text"`
	By      string `json:"by"`
	Sig     []byte `json:"sig"`
}

// follow verifies the statement chain from the first one. It returns the last one's lines, and each epoch's key_check.
func follow(roomID string, statements []statement) ([]string, map[int64]string, error) {
	checks := map[int64]string{}
	prev, owners := zeroHash, []string(nil)
	var last []string
	for i, one := range statements {
		lines := strings.Split(one.Text, "\n")
		if len(lines) != 10 || lines[0] != "unibus-room-v1" || lines[1] != roomID {
			return nil, nil, fmt.Errorf("statement %d is none of this room", i+1)
		}
		if lines[2] != strconv.Itoa(i+1) || lines[3] != prev {
			return nil, nil, fmt.Errorf("statement %d does not follow", i+1)
		}
		signers := owners
		if i == 0 {
			signers = strings.Split(lines[8], ",")
			if len(signers) != 1 {
				return nil, nil, errors.New("the first statement has several owners")
			}
		}
		by, err := hex.DecodeString(one.By)
		if err != nil || !contains(signers, one.By) || !ed25519.Verify(by, []byte(one.Text), one.Sig) {
			return nil, nil, fmt.Errorf("statement %d is not signed by an owner", i+1)
		}
		epoch, err := strconv.ParseInt(lines[6], 10, 64)
		if err != nil {
			return nil, nil, err
		}
		checks[epoch] = lines[7]
		prev, owners, last = sha256Hex(one.Text), strings.Split(lines[8], ","), lines
	}
	if last == nil {
		return nil, nil, errors.New("there is no statement")
	}
	return last, checks, nil
}

func contains(list []string, one string) bool {
	for _, other := range list {
		if other == one {
			return true
		}
	}
	return false
}

// checkMembers compares the members with the signed hash, and verifies that each kex key is signed by its user.
func checkMembers(members []Member, signed string) error {
	sort.Slice(members, func(i, j int) bool {
		if members[i].Endpoint != members[j].Endpoint {
			return members[i].Endpoint < members[j].Endpoint
		}
		return members[i].Since < members[j].Since
	})
	var text strings.Builder
	for _, m := range members {
		fmt.Fprintf(&text, "%s %s %s %s %d %d\n", m.Endpoint, m.SignPub, m.KexPub, m.Role, m.Since, m.Until)
		vouched := "unibus-keys-v1\n" + m.SignPub + "\n" + m.KexPub
		if endpointOf(m.signPub()) != m.Endpoint || !ed25519.Verify(m.signPub(), []byte(vouched), m.KexSig) {
			return fmt.Errorf("%s does not vouch for its kex key", m.Endpoint)
		}
	}
	if sha256Hex(text.String()) != signed {
		return errors.New("the members are not those that were signed")
	}
	return nil
}

// readRoom reads and verifies a room, and opens the keys that are sealed to this peer.
func readRoom(me *Identity, base, roomID string) (*Room, error) {
	var list struct {
		Version int64    `json:"version"`
		Members []Member `json:"members"`
	}
	var chain struct {
		Statements []statement `json:"statements"`
	}
	if err := me.get(base, "/rooms/"+roomID+"/members", &list); err != nil {
		return nil, err
	}
	if err := me.get(base, "/rooms/"+roomID+"/statements?from=1", &chain); err != nil {
		return nil, err
	}
	lines, checks, err := follow(roomID, chain.Statements)
	if err != nil {
		return nil, err
	}
	if err := checkMembers(list.Members, lines[9]); err != nil {
		return nil, err
	}
	epoch, err := strconv.ParseInt(lines[6], 10, 64)
	if err != nil {
		return nil, err
	}
	room := &Room{ID: roomID, Subject: lines[4], Epoch: epoch, members: list.Members, keys: map[int64][]byte{}}
	for epoch, check := range checks {
		if room.memberAt(me.Endpoint, epoch) == nil {
			continue
		}
		key, err := readKey(me, base, roomID, epoch)
		if err != nil {
			return nil, err
		}
		if sha256Hex(fmt.Sprintf("unibus-key-v1\n%s\n%d\n%s", roomID, epoch, key)) != check {
			return nil, fmt.Errorf("the key of epoch %d is not the one that was signed", epoch)
		}
		room.keys[epoch] = key
	}
	return room, nil
}

func readKey(me *Identity, base, roomID string, epoch int64) ([]byte, error) {
	var reply struct {
		SealedKey []byte `json:"sealed_key"`
	}
	if err := me.get(base, fmt.Sprintf("/rooms/%s/key?epoch=%d", roomID, epoch), &reply); err != nil {
		return nil, err
	}
	key, ok := box.OpenAnonymous(nil, reply.SealedKey, &me.kexPub, &me.kexPriv)
	if !ok || len(key) != 32 {
		return nil, fmt.Errorf("what is sealed for epoch %d does not open", epoch)
	}
	return key, nil
}
