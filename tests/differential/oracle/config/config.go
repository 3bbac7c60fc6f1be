// Package config has the daemons' device types: their names and methods are visible to templates.
package config

import "sort"

// Device is one device's keys.
type Device map[string]string

// Clone copies the device.
func (device Device) Clone() Device {
	copied := Device{}
	for key, value := range device {
		copied[key] = value
	}
	return copied
}

// Devices are devices by name.
type Devices map[string]Device

// Clone copies the devices.
func (devices Devices) Clone() Devices {
	copied := Devices{}
	for name, device := range devices {
		copied[name] = device.Clone()
	}
	return copied
}

// CloneNative copies the devices into plain maps.
func (devices Devices) CloneNative() map[string]map[string]string {
	copied := map[string]map[string]string{}
	for name, device := range devices {
		copied[name] = device.Clone()
	}
	return copied
}

// Validate is here for its signature: no template can supply the rules.
func (device Device) Validate(rules map[string]func(value string) error) error { return nil }

// Contains tells whether a device of this name has the same settings; empty ones count as missing.
func (devices Devices) Contains(name string, other Device) bool {
	device := devices[name]
	if device == nil {
		return false
	}
	for _, pair := range [][2]Device{{device, other}, {other, device}} {
		for key, value := range pair[0] {
			if pair[1][key] != value {
				return false
			}
		}
	}
	return true
}

// Update is here for its signature: pongo2 refuses four results.
func (devices Devices) Update(others Devices, fields func(Device, Device) []string) (map[string]Device, map[string]Device, map[string]Device, []string) {
	return nil, nil, nil, nil
}

// DeviceNamed is a device that knows its name.
type DeviceNamed struct {
	Name   string
	Config Device
}

// DevicesSortable is an ordered list of devices.
type DevicesSortable []DeviceNamed

func (devices DevicesSortable) Len() int      { return len(devices) }
func (devices DevicesSortable) Swap(i, j int) { devices[i], devices[j] = devices[j], devices[i] }

// Less orders by rank, then types from z to a, then paths of disks, then names.
func (devices DevicesSortable) Less(i, j int) bool {
	a, b := devices[i], devices[j]
	if first, second := rank(a.Config), rank(b.Config); first != second {
		return first < second
	}
	if kind, other := a.Config["type"], b.Config["type"]; kind != other {
		return kind > other
	}
	if path, other := a.Config["path"], b.Config["path"]; a.Config["type"] == "disk" && path != other {
		return path < other
	}
	return a.Name < b.Name
}

// rank puts interfaces first, nested ones after the others, then the root disk, disks, and everything else.
func rank(device Device) int {
	switch {
	case device["type"] == "nic" && device["nested"] == "":
		return 0
	case device["type"] == "nic":
		return 1
	case device["type"] == "disk" && device["path"] == "/":
		return 2
	case device["type"] == "disk":
		return 3
	}
	return 4
}

func (devices Devices) named() DevicesSortable {
	named := DevicesSortable{}
	for name, device := range devices {
		named = append(named, DeviceNamed{Name: name, Config: device})
	}
	return named
}

// Sorted lists the devices in order.
func (devices Devices) Sorted() DevicesSortable {
	sorted := devices.named()
	sort.Sort(sorted)
	return sorted
}

// Reversed lists the devices in the opposite order.
func (devices Devices) Reversed() DevicesSortable {
	sorted := devices.named()
	sort.Sort(sort.Reverse(sorted))
	return sorted
}
