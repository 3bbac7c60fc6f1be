"""The parts of Go's standard library that templates use: fmt, strconv, strings, regexp, time, math."""
