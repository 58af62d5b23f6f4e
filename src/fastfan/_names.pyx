"""Names: which topic goes by a name, as long as the topic lives.

Under the engine's lock, which one thread holds at a time; but in that thread a signal handler, a finalizer or a weak
reference's callback may come between any two steps that run Python, and ask for the same name. So what decides is one
step of C: there is a topic of this name or this one becomes it, and a reference is removed if it is still the one.
"""

import weakref


class _Ref(weakref.ref):
    __slots__ = ("name",)


cdef class Names:
    def __cinit__(self):
        self.refs = {}
        self.forget = forgetting(self.refs)

    def __len__(self):
        return len(self.refs)

    cdef object get(self, str name):
        """The topic, or None."""
        ref = self.refs.get(name)
        return None if ref is None else ref()

    cdef object put(self, str name, object topic):
        """The topic of that name from now on: this one, or another that was there before."""
        cdef object ref = _Ref(topic, self.forget)
        cdef object there
        ref.name = name
        while True:
            there = self.refs.setdefault(name, ref)
            if there is ref:
                return topic
            found = there()
            if found is not None:
                return found
            self.forget(there)


def forgetting(dict refs):
    # Not a method of Names, which would make a cycle with what it has.
    def forget(ref):
        name = ref.name
        if refs.get(name) is ref:
            del refs[name]
    return forget
