package main

import (
	"encoding/base64"
	"fmt"
	"sort"
	"strings"
)

var b64of = base64.StdEncoding.EncodeToString

// b64 is so many bytes as they would stand in a frame.
func b64(n int) string { return b64of(stream("b64", n)) }

// each calls do with every entry, in the order of their names.
func each(prefix string, entries map[string]string, do func(name, value string)) {
	var names []string
	for name := range entries {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		do(prefix+name, entries[name])
	}
}

// hostiles are texts that differ from a frame in one point each.
func hostiles() []Hostile {
	const name = "hostile"
	from, id := endpoint(name), ulid(name)
	f := plain(name)
	f.N, f.P, f.Sig = stream(name+" n", 24), []byte{255}, stream(name+" sig", 64)
	f.B, f.Thr, f.Re = blobRef(name, 21), ulid(name+" thr"), ulid(name+" re")
	whole := string(encode(f))
	var all []Hostile
	add := func(name, text string) { all = append(all, hostileOf(name, text)) }
	swap := func(name, old, new string) {
		if strings.Count(whole, old) != 1 {
			panic(old)
		}
		add(name, strings.Replace(whole, old, new, 1))
	}
	value := func(key string) string {
		rest := whole[strings.Index(whole, `"`+key+`":"`)+len(key)+4:]
		return rest[:strings.Index(rest, `"`)]
	}

	// Keys.
	swap("a key twice, the same", `"t":0,`, `"t":0,"t":0,`)
	swap("a key twice, first another", `"t":0,`, `"t":6,"t":0,`)
	swap("a key twice, last another", `"e":1,`, `"e":1,"e":2,`)
	swap("a key twice, in capitals", `"t":0,`, `"t":0,"T":6,`)
	swap("a key twice in the blob", `"sz":21`, `"sz":21,"sz":21`)
	swap("an unknown key", `"e":1,`, `"e":1,"x":1,`)
	swap("an unknown key last", `"re":"`+f.Re+`"`, `"re":"`+f.Re+`","x":null`)
	swap("an unknown key in the blob", `"sz":21`, `"sz":21,"x":1`)
	swap("the key __proto__", `"e":1,`, `"e":1,"__proto__":{},`)
	swap("a key in capitals", `"t":0,`, `"T":0,`)
	swap("a longer key in capitals", `"from":`, `"FROM":`)
	swap("a key that folds to another", `"s":"`, `"ſ":"`)
	swap("an escaped key", `"t":0,`, `"\u0074":0,`)
	swap("two keys in another order", `"t":0,"s":"room.general",`, `"s":"room.general","t":0,`)
	for _, key := range []string{`"t":0,`, `"s":"room.general",`, `"from":"` + from + `",`, `"id":"` + id + `",`, `"e":1,`} {
		swap("without "+key, key, "")
	}
	swap("a blob without its size", `,"sz":21`, "")

	// Numbers.
	for _, n := range []string{"0.0", "0e0", "-0", "00", "+0", "7", "-1", `"0"`, "null", "false", "[]"} {
		swap("t "+n, `"t":0,`, `"t":`+n+`,`)
	}
	for _, n := range []string{"0", "1.0", "1e0", "10e-1", "01", "-1", "2147483648", "9007199254740993", "9223372036854775807",
		"9223372036854775808", "1e400", "null"} {
		swap("e "+n, `"e":1,`, `"e":`+n+`,`)
	}
	for _, n := range []string{"-1", "21.0", "021", "16777217", "9007199254740993", "null"} {
		swap("sz "+n, `"sz":21`, `"sz":`+n)
	}

	// Texts.
	subjects := map[string]string{
		"lone surrogate": `room.\ud800`, "surrogates the wrong way round": `room.\udc00\ud800`, "pair of surrogates": `room.\ud83d\udc4d`,
		"lone surrogate in bytes": "room.\xed\xa0\x80", "byte that is no UTF-8": "room.\xff", "overlong dot": "room\xc0\xaegeneral",
		"letter beyond ASCII": "room.ä", "line separator": "room.\u2028", "escaped letter": `room.gener\u0061l`, "escaped slash": `room.a\/b`,
		"HTML": "room.<b>", "HTML, escaped": `room.\u003cb\u003e`, "raw line feed": "room.a\nb", "raw NUL": "room.a\x00b", "DEL": "room.a\x7fb",
		"space": "room.a b", "empty": "", "one token": "room", "empty token": "room..a", "dot at the end": "room.", "dot at the start": ".room",
		"star": "room.*", "greater": "room.>", "too long": "room." + strings.Repeat("x", 196),
	}
	each("subject: ", subjects, func(what, v string) { swap(what, `"s":"room.general"`, `"s":"`+v+`"`) })
	swap("subject: a number", `"s":"room.general"`, `"s":1`)
	swap("subject: null", `"s":"room.general"`, `"s":null`)
	froms := map[string]string{"short": from[1:], "long": from + "A", "with padding": from + "=", "with a plus": "+" + from[1:]}
	each("from: ", froms, func(what, v string) { swap(what, from, v) })
	for _, key := range []string{"id", "thr", "re"} {
		old := value(key)
		for _, v := range []string{strings.ToLower(old), "8" + old[1:], old[1:], old + "0", old[:25] + "I", old[:25] + "L", old[:25] + "O",
			old[:25] + "U"} {
			swap(key+" "+v, `"`+key+`":"`+old+`"`, `"`+key+`":"`+v+`"`)
		}
	}
	h := f.B.H
	hashes := map[string]string{"in capitals": strings.ToUpper(h), "short": h[1:], "long": h + "0", "not hex": "g" + h[1:], "empty": ""}
	each("h: ", hashes, func(what, v string) { swap(what, h, v) })

	// Bytes.
	p := map[string]string{
		"trailing bits": "/x==", "trailing bits of two": "//9=", "no padding": "/w", "half the padding": "/w=", "more padding": "/w===",
		"line feed, escaped": `/\nw==`, "line feed at the end, escaped": `/w==\n`, "space": "/ w==", "alphabet of URLs": "_w==", "one character": "/",
		"padding alone": "====", "padding inside": "/w==/w==", "escaped slash": `\/w==`, "not base64": "!!!!", "no padding of three": "////A",
	}
	each("p: ", p, func(what, v string) { swap(what, `"p":"/w=="`, `"p":"`+v+`"`) })
	swap("p: a list", `"p":"/w=="`, `"p":[255]`)
	for _, key := range []string{"n", "p", "sig", "thr", "re"} {
		old := `"` + key + `":"` + value(key) + `"`
		if key == "n" {
			old += `,"p"`
			swap("n: empty", old, `"n":"","p"`)
			swap("n: null", old, `"n":null,"p"`)
			swap("n: 23 bytes", old, `"n":"`+b64(23)+`","p"`)
			swap("n: 25 bytes", old, `"n":"`+b64(25)+`","p"`)
			continue
		}
		swap(key+": empty", old, `"`+key+`":""`)
		swap(key+": null", old, `"`+key+`":null`)
	}
	for _, n := range []int{0, 63, 65, 66} {
		swap(fmt.Sprintf("sig: %d bytes", n), `"sig":"`+value("sig")+`"`, `"sig":"`+b64(n)+`"`)
	}
	sig := value("sig")
	swap("sig: trailing bits", sig, sig[:85]+string(rune(sig[85]+1))+"==")
	ref := whole[strings.Index(whole, `"b":`)+4 : strings.Index(whole, `,"sig"`)]
	nonce := b64of(f.B.N)
	refs := map[string]string{
		"null": "null", "empty": "{}", "a list": "[]", "a text": `""`,
		"n empty": strings.Replace(ref, nonce, "", 1), "n of 23 bytes": strings.Replace(ref, nonce, b64(23), 1),
	}
	each("b: ", refs, func(what, v string) { swap(what, ref, v) })

	// The whole.
	for _, v := range []string{" ", "\n", "\t", "\x00", "x", "{}", whole, ",", "\ufeff"} {
		add(fmt.Sprintf("%.4q after it", v), whole+v)
	}
	for _, v := range []string{" ", "\n", "\ufeff", "x", "["} {
		add(fmt.Sprintf("%.9q before it", v), v+whole)
	}
	swap("a space after a colon", `"t":0,`, `"t": 0,`)
	swap("a space after a comma", `"t":0,`, `"t":0, `)
	swap("a comma at the end", f.Re+`"}`, f.Re+`",}`)
	swap("a comment", `"t":0,`, `"t":0,/**/`)
	add("single quotes", strings.ReplaceAll(whole, `"`, `'`))
	add("half of it", whole[:len(whole)/2])
	add("in a list", "["+whole+"]")
	add("in a text", fmt.Sprintf("%q", whole))
	for _, v := range []string{"", " ", "{}", "[]", "null", "0", "true", `""`, strings.Repeat("[", 1_000), strings.Repeat(`{"b":`, 1_000)} {
		add(fmt.Sprintf("%.9q alone", v), v)
	}
	return all
}
