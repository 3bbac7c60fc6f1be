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

// DeviceNamed is a device that knows its name.
type DeviceNamed struct {
	Name   string
	Config Device
}

// DevicesSortable is an ordered list of devices.
type DevicesSortable []DeviceNamed

func (devices DevicesSortable) Len() int      { return len(devices) }
func (devices DevicesSortable) Swap(i, j int) { devices[i], devices[j] = devices[j], devices[i] }

// Less puts interfaces first, then disks with the root before the others, then types from z to a.
func (devices DevicesSortable) Less(i, j int) bool {
	a, b := devices[i], devices[j]
	kind, other := a.Config["type"], b.Config["type"]
	if kind != other {
		for _, first := range []string{"nic", "disk"} {
			if kind == first || other == first {
				return kind == first
			}
		}
		return kind > other
	}
	path, otherPath := a.Config["path"], b.Config["path"]
	if kind == "disk" && path != otherPath {
		if path == "/" || otherPath == "/" {
			return path == "/"
		}
		return path < otherPath
	}
	return a.Name < b.Name
}

// Sorted lists the devices in order.
func (devices Devices) Sorted() DevicesSortable {
	sorted := DevicesSortable{}
	for name, device := range devices {
		sorted = append(sorted, DeviceNamed{Name: name, Config: device})
	}
	sort.Sort(sorted)
	return sorted
}
