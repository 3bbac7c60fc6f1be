"""``watch --web``: a page in the browser that shows the files of one view, and changes with the image.

`server` runs the server, and follows changes of files. `renderer` controls the child process `worker`, in
which `views` makes the HTML of a view.
"""
