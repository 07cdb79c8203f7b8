"""The bundled trainer: from Korean text to a GPT-2 on MXNet and Horovod.

Each step is a program of its own: ``python -m training.tokenizer``, ``.encode``, ``.launch``, ``.pretrain``,
``.generate``, ``.score``, ``.export``. The package imports nothing else of the toolkit and knows no cloud: it reads
and writes files.
"""
