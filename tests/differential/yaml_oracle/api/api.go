// Package api has the fields that the daemons decode metadata.yaml into, under the names that
// their errors show.
package api

// ImageMetadata is the document.
type ImageMetadata struct {
	Architecture string                            `yaml:"architecture"`
	CreationDate int64                             `yaml:"creation_date"`
	ExpiryDate   int64                             `yaml:"expiry_date"`
	Properties   map[string]string                 `yaml:"properties"`
	Templates    map[string]*ImageMetadataTemplate `yaml:"templates"`
}

// ImageMetadataTemplate is one rule.
type ImageMetadataTemplate struct {
	When       []string          `yaml:"when"`
	CreateOnly bool              `yaml:"create_only"`
	Template   string            `yaml:"template"`
	Properties map[string]string `yaml:"properties"`
	UID        string            `yaml:"uid"`
	GID        string            `yaml:"gid"`
	Mode       string            `yaml:"mode"`
}
