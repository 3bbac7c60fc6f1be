"""``watch --web``: a page in the browser that shows a view of the files, and is updated after each change.

* `server` runs the server, and follows changes of files.
* `worker_process` controls the child process of `worker_loop`.
* `views` makes the HTML of a view in this child process.
"""
