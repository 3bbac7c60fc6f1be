// Answers JSON lines {"data": base64} with what archive/tar reads from an archive:
// {"members": [{"name": base64, "data": base64, "global": ...}, ...], "error": ...}.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
)

type member struct {
	Name []byte `json:"name"`
	Data []byte `json:"data"`
	// whether this is a global header, which Go returns like a member
	Global bool `json:"global"`
}

type answer struct {
	Members []member `json:"members"`
	Error   string   `json:"error"`
}

func read(data []byte) (result answer) {
	archive := tar.NewReader(bytes.NewReader(data))
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return result
		}
		var content []byte
		if err == nil {
			content, err = io.ReadAll(io.LimitReader(archive, 1<<20))
		}
		if err != nil {
			result.Error = err.Error()
			return result
		}
		isGlobal := header.Typeflag == tar.TypeXGlobalHeader
		result.Members = append(result.Members, member{[]byte(header.Name), content, isGlobal})
	}
}

func main() {
	output := bufio.NewWriter(os.Stdout)
	requests, answers := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(output)
	for {
		var asked struct {
			Data []byte `json:"data"`
		}
		if requests.Decode(&asked) != nil {
			return
		}
		answers.Encode(read(asked.Data))
		output.Flush()
	}
}
