"""The agent: one small process on every machine, started by dure-agent.service as root.

    python -m monitoring.agent [--facts /etc/dure/facts.json] [--identity /etc/dure/identity.json]

What it sends
- Metrics (`monitoring.catalog`) to CloudWatch, every `interval_seconds` of the facts (60 unless the cluster file says
  otherwise; below 60 they are kept by the second): CPU, memory, disk, network from /proc, GPUs from NVML, EFA from
  /sys/class/infiniband. On the head also a job's own figures, from /fsx/.dure/metrics/JOBID/*.jsonl.
- Log lines to CloudWatch Logs within about a second: on the head a job's output (/fsx/.dure/logs/JOBID.log goes to
  stream JOBID of the jobs' group); on every machine /var/log/dure/*.log and Slurm's logs (to stream INSTANCE_ID/FILE
  of the nodes' group).

How a reader knows that a job's log is complete: slurmctld notes each end of a job in /var/lib/dure/slurm/jobcomp.txt.
When the agent sees a new note and has sent everything, it sends one last event to the stream, {"dure":"end-of-log",
"bytes":N}. A job that is queued again goes on in the same stream and gets another such event at its next end.
So it counts only while Slurm says that the job is over.

Nothing is lost while CloudWatch is away: log files are their own buffer (how far each one was acknowledged is kept in
/var/lib/dure/agent), metric values wait in a bounded queue whose losses are a metric themselves.
A restart repeats nothing; only a kill -9 between CloudWatch's answer and the note of it (milliseconds) repeats
one batch of lines.

Trust: what lies under /fsx/.dure belongs to the job user. The agent is root, so it follows no symbolic link there and
reads regular files only; a job can't make it ship a file of the machine.
"""
