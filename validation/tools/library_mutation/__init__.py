"""Mutation of the libraries that the suite judges: the share of small faults that it finds, beside their own tests.

python -m validation.tools.library_mutation --tests azula=PATH --tests diffusers=PATH

changes one place of a library's formulas at a time, in memory, in a fork of this process. The adapters' targets are
judged there, and the library's own tests are run, from the folders named. The tests of a library are no part of what
it installs: take those of the same version from its repository or its source distribution. Without a folder, the own
tests of that library are left out.

It writes validation/records/library_mutation.json, and from it validation/targets/MUTATION.md.
"""
