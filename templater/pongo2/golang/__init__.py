"""Go's standard library where templates show it: fmt, strconv, strings, regexp, time, math."""
