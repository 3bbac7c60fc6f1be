// Answers JSON lines {"text": base64} with what yaml.v2 and yaml.v3 decode:
// {"v2": {"metadata": ...} or {"error": ...}, "v3": ...}.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"yaml_oracle/api"

	yaml2 "gopkg.in/yaml.v2"
	yaml3 "gopkg.in/yaml.v3"
)

type request struct {
	Text []byte `json:"text"`
}

type answer struct {
	Metadata *api.ImageMetadata `json:"metadata,omitempty"`
	Error    string             `json:"error,omitempty"`
}

func decoded(unmarshal func([]byte, any) error, text []byte) (result answer) {
	defer func() {
		if panicked := recover(); panicked != nil {
			result = answer{Error: fmt.Sprint("panic: ", panicked)}
		}
	}()
	metadata := &api.ImageMetadata{}
	if err := unmarshal(text, metadata); err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Metadata: metadata}
}

func main() {
	input := bufio.NewReaderSize(os.Stdin, 1<<20)
	output := bufio.NewWriter(os.Stdout)
	defer output.Flush()
	requests, answers := json.NewDecoder(input), json.NewEncoder(output)
	for {
		var asked request
		if requests.Decode(&asked) != nil {
			return
		}
		v2 := func(text []byte, into any) error { return yaml2.Unmarshal(text, into) }
		v3 := func(text []byte, into any) error { return yaml3.Unmarshal(text, into) }
		answers.Encode(map[string]answer{"v2": decoded(v2, asked.Text), "v3": decoded(v3, asked.Text)})
		output.Flush()
	}
}
