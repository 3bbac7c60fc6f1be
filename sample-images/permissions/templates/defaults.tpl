never written: the image has this file
