"""The live human study: a class rates explanations on its phones, and sees its own result.

A protocol is a data file (``protocols/*.toml``); its pictures are drawn beforehand (:mod:`.stimuli`). Each
participant gets a balanced order of trials (:mod:`.design`), answers are kept in a database (:mod:`.store`),
pages are served by a small web server (:mod:`.server`), and :mod:`.analysis` reads what was exported.

``python -m xai_course.study`` starts it. :mod:`.analysis`, :mod:`.design` and :mod:`.protocols` need none of
the extra ``study``: a lesson can read an export without a web server installed.
"""
