// Command oracle renders templates with the real pongo2, one JSON line in, one JSON line out.
//
// Lines are those of "python -m templater.pongo2 --jsonl". A panic is an error with "panic": true. A
// render that takes too long is reported and ends the program, since Go can't stop it; a stack
// overflow ends it without a word. Whoever drives it starts it again.
//
// "seconds" is how long that may be for this line; "repeat": n renders n times and reports "outputs" where they differ: the order of Go's maps is random.
// With -instances, lines are not read: see fleet.go. With -bench, every line is measured instead: nanoseconds of parse and execute, and of execute alone.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flosch/pongo2"

	"oracle/config"
	"oracle/instance"
)

type request struct {
	ID          json.RawMessage        `json:"id"`
	Template    string                 `json:"template"`
	TemplateB64 string                 `json:"template_b64"`
	Context     map[string]interface{} `json:"context"`
	Mode        string                 `json:"mode"`
	Options     struct {
		TrimBlocks   bool `json:"trim_blocks"`
		LStripBlocks bool `json:"lstrip_blocks"`
	} `json:"options"`
	Repeat  int `json:"repeat"`
	Seconds int `json:"seconds"`
}

type answer struct {
	ID        json.RawMessage `json:"id"`
	Output    *string         `json:"output,omitempty"`
	OutputB64 *string         `json:"output_b64,omitempty"`
	Outputs   []string        `json:"outputs,omitempty"`
	Error     string          `json:"error,omitempty"`
	Phase     string          `json:"phase,omitempty"`
	Panic     bool            `json:"panic,omitempty"`
	Parse     int64           `json:"parse_execute_ns,omitempty"`
	Execute   int64           `json:"execute_ns,omitempty"`
}

type noFiles struct{}

func (noFiles) Abs(base, name string) string       { return name }
func (noFiles) Get(path string) (io.Reader, error) { return nil, errors.New("no files here") }

var timeout = flag.Duration("timeout", 2*time.Second, "give up on a line after this long")
var bench = flag.Int("bench", 0, "measure every line this many times, in ten batches")
var instances = flag.String("instances", "", "render -rules for every instance of this list instead")
var rules = flag.String("rules", "", "files to be rendered: a JSON list")
var jobs = flag.Int("jobs", 1, "goroutines for -instances")

func main() {
	flag.Parse()
	debug.SetMaxStack(16 << 20)
	if *bench == 0 {
		debug.SetGCPercent(400)
	}
	if *instances != "" {
		if err := fleet(*instances, *rules, *jobs); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	out := bufio.NewWriter(os.Stdout)
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			handle(line, out)
		}
		if err != nil {
			return
		}
	}
}

func handle(line []byte, out *bufio.Writer) {
	var req request
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if err := decoder.Decode(&req); err != nil {
		reply(out, answer{Error: err.Error(), Phase: "request"})
		return
	}
	if req.TemplateB64 != "" {
		raw, _ := base64.StdEncoding.DecodeString(req.TemplateB64)
		req.Template = string(raw)
	}
	patience := *timeout
	if req.Seconds > 0 {
		patience = time.Duration(req.Seconds) * time.Second
	}
	watchdog := time.AfterFunc(patience, func() {
		reply(out, answer{ID: req.ID, Error: "timeout", Phase: "hang"})
		os.Exit(3)
	})
	result := rendered(&req)
	watchdog.Stop()
	reply(out, result)
}

func reply(out *bufio.Writer, result answer) {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(result)
	out.Flush()
}

// rendered is the answer to one request, several renders of it compared if asked for.
func rendered(req *request) answer {
	if *bench > 0 {
		return measured(req)
	}
	result := once(req)
	for i := 1; i < req.Repeat; i++ {
		other := once(req)
		if text(other) != text(result) {
			result.Outputs = append(result.Outputs, text(other))
			if len(result.Outputs) > 50 {
				break
			}
		}
	}
	return result
}

func text(result answer) string {
	switch {
	case result.Output != nil:
		return "output " + *result.Output
	case result.OutputB64 != nil:
		return "base64 " + *result.OutputB64
	}
	return "error " + result.Error
}

func once(req *request) (result answer) {
	result.ID = req.ID
	result.Phase = "parse"
	defer func() {
		if failure := recover(); failure != nil {
			result.Error = fmt.Sprintf("panic: %v", failure)
			result.Panic = true
		}
	}()
	tpl, err := parsed(req)
	if err == nil {
		result.Phase = "execute"
		var output string
		output, err = tpl.Execute(contextFor(req))
		if err == nil {
			result.Phase = ""
			setOutput(&result, output)
		}
	}
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

func setOutput(result *answer, output string) {
	if utf8.ValidString(output) {
		result.Output = &output
		return
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(output))
	result.OutputB64 = &encoded
}

// parsed makes a set as the daemons do, for every template anew.
func parsed(req *request) (*pongo2.Template, error) {
	set := pongo2.NewSet("oracle", noFiles{})
	set.Options.TrimBlocks = req.Options.TrimBlocks
	set.Options.LStripBlocks = req.Options.LStripBlocks
	source := req.Template
	if req.Mode == "incus" {
		for _, tag := range []string{"extends", "import", "include", "ssi"} {
			if err := set.BanTag(tag); err != nil {
				return nil, err
			}
		}
		source = "{% autoescape off %}" + source + "{% endautoescape %}"
	}
	return set.FromString(source)
}

func measured(req *request) answer {
	result := once(req)
	if result.Output == nil && result.OutputB64 == nil {
		return result
	}
	context := contextFor(req)
	result.Parse = best(func() {
		tpl, _ := parsed(req)
		_, _ = tpl.Execute(context)
	})
	tpl, _ := parsed(req)
	result.Execute = best(func() { _, _ = tpl.Execute(context) })
	return result
}

// best is the time of one call in the best of ten batches.
func best(action func()) int64 {
	const batches = 10
	fastest := int64(1 << 62)
	for i := 0; i < batches; i++ {
		start := time.Now()
		for j := 0; j < *bench/batches; j++ {
			action()
		}
		fastest = min(fastest, time.Since(start).Nanoseconds()/int64(*bench/batches))
	}
	return fastest
}

// contextFor types the context: by the daemons' declarations in incus mode, by what it holds otherwise.
func contextFor(req *request) pongo2.Context {
	context := pongo2.Context{}
	for name, value := range req.Context {
		context[name] = typed(value)
	}
	if req.Mode != "incus" {
		return context
	}
	for _, pair := range [][2]string{{"instance", "container"}, {"container", "instance"}} {
		if _, known := req.Context[pair[1]]; !known {
			if value, given := req.Context[pair[0]]; given {
				req.Context[pair[1]] = value
			}
		}
	}
	for _, name := range []string{"config", "properties", "container", "instance"} {
		if value, given := req.Context[name]; given {
			context[name] = texts(value)
		}
	}
	if value, given := req.Context["devices"].(map[string]interface{}); given {
		devices := config.Devices{}
		for name, device := range value {
			devices[name] = config.Device(texts(device))
		}
		context["devices"] = devices
	}
	if value, given := req.Context["trigger"].(string); given {
		context["trigger"] = instance.TemplateTrigger(value)
	}
	keys := texts(req.Context["config"])
	context["config_get"] = func(key, fallback *pongo2.Value) *pongo2.Value {
		value, given := keys[key.String()]
		if !given {
			return fallback
		}
		return pongo2.AsValue(strings.TrimRight(value, "\r\n"))
	}
	return context
}

func texts(value interface{}) map[string]string {
	result := map[string]string{}
	if values, ok := value.(map[string]interface{}); ok {
		for key, item := range values {
			if text, ok := item.(string); ok {
				result[key] = text
			}
		}
	}
	return result
}

// typed gives JSON data the Go types of the vectors' rule.
func typed(value interface{}) interface{} {
	switch value := value.(type) {
	case json.Number:
		return number(value)
	case []interface{}:
		return list(value)
	case map[string]interface{}:
		return object(value)
	}
	return value
}

func number(value json.Number) interface{} {
	if !strings.ContainsAny(value.String(), ".eE") {
		if n, err := value.Int64(); err == nil {
			return int(n)
		}
	}
	f, _ := value.Float64()
	return f
}

func object(values map[string]interface{}) interface{} {
	items := map[string]interface{}{}
	strings := map[string]string{}
	for key, value := range values {
		items[key] = typed(value)
		if text, ok := value.(string); ok {
			strings[key] = text
		}
	}
	if len(values) > 0 && len(strings) == len(values) {
		return strings
	}
	return items
}

func list(values []interface{}) interface{} {
	items := []interface{}{}
	var strings []string
	var ints []int
	var floats []float64
	var bools []bool
	for _, value := range values {
		item := typed(value)
		items = append(items, item)
		switch item := item.(type) {
		case string:
			strings = append(strings, item)
		case int:
			ints = append(ints, item)
		case float64:
			floats = append(floats, item)
		case bool:
			bools = append(bools, item)
		}
	}
	switch len(values) {
	case 0:
		return items
	case len(strings):
		return strings
	case len(ints):
		return ints
	case len(floats):
		return floats
	case len(bools):
		return bools
	}
	return items
}
