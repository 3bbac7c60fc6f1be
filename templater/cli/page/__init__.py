"""``watch --web``: a page in the browser that shows the files of one view, and changes with the image.

`server` runs the server, and follows changes of files. `renderer` is the server's side of the child process
`worker`, in which `views` makes the HTML of a view.
"""
