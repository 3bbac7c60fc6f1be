// Package instance has the daemons' named trigger type.
package instance

// TemplateTrigger is why a template is rendered; being a named type, it never equals a string.
type TemplateTrigger string
