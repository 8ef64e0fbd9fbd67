"""Jobs that outlive a page: the job service, the queue, workers and servers.

How a job flows
---------------

A job has seven shapes. A value changes its shape only when its meaning changes:

1. **Form values**: a mapping of param ids to values, from a page, an endpoint or the terminal.
2. :class:`~comfy_ui.storage.records.JobRequest`: the values, the preset and the user.
   ``JobService.submit`` takes it.
3. :class:`~comfy_ui.storage.records.Job`: concrete values and a graph that a server can run. The
   ``JobQueue`` stores it before ComfyUI hears of it, orders it among the others, and hands it to a
   worker.
4. :class:`~comfy_ui.jobs.workers.active_job.ActiveJob`: the state of a job while a ``Worker`` runs
   it.
5. :class:`~comfy_ui.protocol.job_state.JobState`: what the messages of the server say about it.
6. :class:`~comfy_ui.storage.records.Snapshot`: what a follower sees at one moment. The worker
   reports each change as a ``JobReport``; ``JobUpdates`` publishes the snapshot that follows.
7. :class:`~comfy_ui.storage.records.LibraryItem`: a result in the library. The worker downloads
   each ``OutputFile`` unmodified, and the store adds the items in the transaction that ends the
   job.

::

    values → JobRequest → JobService → JobQueue ⇄ Worker → ComfyUI
                                          │          │
                              followers ← Snapshot   files → LibraryItem

Two protocols are the seam for a server-backed implementation: ``JobQueue`` for unfinished jobs,
and ``JobStore`` for everything that is stored about jobs.
"""
