"""Topics by name (rules in _names.pyx)."""


cdef class Names:
    cdef dict refs      # name -> weak reference
    cdef object forget
    cdef object get(self, str name)
    cdef object put(self, str name, object topic)
