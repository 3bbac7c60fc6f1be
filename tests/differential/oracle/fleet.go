package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"

	"github.com/flosch/pongo2"

	"oracle/config"
	"oracle/instance"
)

// described is what templates may know of an instance, out of what "incus list -f json" prints of one.
type described struct {
	Name            string            `json:"name"`
	Type            string            `json:"type"`
	Architecture    string            `json:"architecture"`
	Ephemeral       bool              `json:"ephemeral"`
	ExpandedConfig  map[string]string `json:"expanded_config"`
	ExpandedDevices config.Devices    `json:"expanded_devices"`
}

// due is one file to be rendered for every instance.
type due struct {
	Path       string            `json:"path"`
	Trigger    string            `json:"trigger"`
	Template   string            `json:"template"`
	Properties map[string]string `json:"properties"`
}

type printed struct {
	Instance string   `json:"instance"`
	Contents []string `json:"contents"`
}

// fleet renders the files that are due for each instance of a list as the daemons do: every template is parsed
// for every file. The list is read as it comes; one line is printed for each instance, in order.
func fleet(instances, rules string, jobs int) error {
	var files []due
	text, err := os.ReadFile(rules)
	if err == nil {
		err = json.Unmarshal(text, &files)
	}
	if err != nil {
		return err
	}
	list, err := os.Open(instances)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(os.Stdout, 1<<16)
	if jobs == 1 {
		err = each(list, func(one *described) error { return line(one, files, out) })
	} else {
		err = spread(list, files, jobs, out)
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

func each(list io.Reader, do func(*described) error) error {
	decoder := json.NewDecoder(bufio.NewReaderSize(list, 1<<18))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	for decoder.More() {
		one := &described{}
		if err := decoder.Decode(one); err != nil {
			return err
		}
		if err := do(one); err != nil {
			return err
		}
	}
	return nil
}

type answered struct {
	text []byte
	err  error
}

// spread does the same in several goroutines; decoding stays in one.
func spread(list io.Reader, files []due, jobs int, out io.Writer) error {
	type task struct {
		one  *described
		done chan answered
	}
	tasks, inOrder := make(chan task, 64*jobs), make(chan task, 128*jobs)
	for i := 0; i < jobs; i++ {
		go func() {
			for task := range tasks {
				var text bytes.Buffer
				err := line(task.one, files, &text)
				task.done <- answered{text.Bytes(), err}
			}
		}()
	}
	failed := make(chan error, 1)
	go func() {
		failed <- each(list, func(one *described) error {
			next := task{one, make(chan answered, 1)}
			inOrder <- next
			tasks <- next
			return nil
		})
		close(tasks)
		close(inOrder)
	}()
	for task := range inOrder {
		answer := <-task.done
		if answer.err != nil {
			return answer.err
		}
		if _, err := out.Write(answer.text); err != nil {
			return err
		}
	}
	return <-failed
}

func line(one *described, files []due, out io.Writer) error {
	result := printed{one.Name, make([]string, 0, len(files))}
	for i := range files {
		template, err := parsed(&request{Template: files[i].Template, Mode: "incus"})
		if err != nil {
			return err
		}
		content, err := template.Execute(contextOf(one, &files[i]))
		if err != nil {
			return err
		}
		result.Contents = append(result.Contents, content)
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(result)
}

func contextOf(one *described, file *due) pongo2.Context {
	facts := map[string]string{
		"name":         one.Name,
		"type":         one.Type,
		"architecture": one.Architecture,
		"ephemeral":    trueOrFalse(one.Ephemeral),
	}
	if one.Type != "virtual-machine" {
		facts["privileged"] = trueOrFalse(truth(one.ExpandedConfig["security.privileged"]))
	}
	return pongo2.Context{
		"trigger":    instance.TemplateTrigger(file.Trigger),
		"path":       file.Path,
		"container":  facts,
		"instance":   facts,
		"config":     one.ExpandedConfig,
		"devices":    one.ExpandedDevices,
		"properties": file.Properties,
		"config_get": func(key, fallback *pongo2.Value) *pongo2.Value {
			value, given := one.ExpandedConfig[key.String()]
			if !given {
				return fallback
			}
			return pongo2.AsValue(strings.TrimRight(value, "\r\n"))
		},
	}
}

func trueOrFalse(value bool) string {
	if value {
		return "true"
	}
	return "false"
}

func truth(value string) bool {
	switch strings.ToLower(value) {
	case "true", "1", "yes", "on":
		return true
	}
	return false
}
