"""``watch --web``: a page in the browser that shows the files of one view, and changes with the image.

`server` runs the server, and follows changes of files. `worker_process` controls the child process
`worker_loop`, in which `views` makes the HTML of a view.
"""
