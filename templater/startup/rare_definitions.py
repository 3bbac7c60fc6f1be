"""The classes and functions that a usual start of a container does not use.

A hook loads a definition in ``LATE`` when code first uses its name. A hook loads a function or method in
``RARE`` at its first call. A wrong list only costs time.

``pytest tests/unit/startup/test_rare_definitions.py --update`` writes this file.
"""

LATE: "dict[str, tuple[str, ...]]" = {
    "templater.hooks.compile_cache": (
        "_package_age", "compiled_by", "encode", "is_entry", "open_cache",
    ),
    "templater.hooks.log": (
        "write_stderr",
    ),
    "templater.hooks.lxc_config": (
        "_files_in", "_number", "has_index", "ids_on_disk", "layers_of", "lines_of", "of_other_directory",
        "overlay_options", "refuse_control_characters", "refuse_other_container",
    ),
    "templater.hooks.options": (
        "_limits", "_seconds", "_set", "_uid", "calls_templater",
    ),
    "templater.hooks.request": (
        "Notice", "_read_file",
    ),
    "templater.hooks.run": (
        "_first_times", "_keeps_changes", "_keeps_order", "_log_failure", "_record_start", "_reported",
        "_translated", "_without_hidden", "_write_log", "compare", "probe", "report_failure", "time_is_up",
    ),
    "templater.hooks.runtimes": (
        "runtimes_with",
    ),
    "templater.hooks.runtimes.lxc": (
        "_is_btrfs", "_make_layer", "_open_mount_point", "_refuses_second_mount", "_remove_volatile_mark",
        "_renders", "_require_own", "defer", "has_hook", "in_namespace", "is_deferred", "mount_overlay",
        "open_layers", "require_mount_hook", "require_mounted", "snippet", "status", "unreadable",
    ),
    "templater.hooks.sandboxed_rendering": (
        "_compiled", "_import_all", "_layer", "_plain", "_rule_values", "_span", "_without_description",
        "error_fields", "error_read",
    ),
    "templater.hooks.source_stamp": (
        "_is_package", "sources", "stamp_of",
    ),
    "templater.instances.record_of_written_files": (
        "_name_of", "_refusal", "content_digest", "entries_of", "has_content", "real_of", "size_of",
        "size_to_compare", "starts_with_content",
    ),
    "templater.instances.state_directory": (
        "make", "write_whole",
    ),
    "templater.model.errors": (
        "BusyError", "HostError", "InputError", "KeptError", "MetadataError", "RefusedError", "RenderError",
        "TemplateError", "TemplateSyntaxError", "UsageError", "WriteError", "described_bug", "reason",
    ),
    "templater.model.instance": (
        "Expanded", "Profile",
    ),
    "templater.model.instance_name": (
        "_typing_problem", "daemon_name_problem",
    ),
    "templater.model.metadata": (
        "Finding",
    ),
    "templater.model.pending_trigger": (
        "pending_after",
    ),
    "templater.model.permissions": (
        "_base", "go_integer", "parse_id", "parse_mode",
    ),
    "templater.model.plan": (
        "Outcome", "_merge", "carry_out",
    ),
    "templater.model.source": (
        "Span",
    ),
    "templater.model.unprintable_characters": (
        "_escaped", "is_whole", "printable_lines", "whole_characters",
    ),
    "templater.oslite": (
        "address_space", "birth_time", "is_missing", "islink",
    ),
    "templater.planning.changed_rootfs": (
        "_flagged",
    ),
    "templater.planning.decide_changes": (
        "_collision", "_create", "_placed", "_skip", "_through_mount",
    ),
    "templater.planning.follow_links": (
        "_shown", "place_of",
    ),
    "templater.pongo2": (
        "compile",
    ),
    "templater.pongo2.daemon_context": (
        "_set_keys", "start_order",
    ),
    "templater.pongo2.execution": (
        "short_message", "unplaced",
    ),
    "templater.pongo2.golang.parse_float": (
        "_parse_hex", "_parse_plain", "_spaced", "parse_float",
    ),
    "templater.pongo2.golang.strings": (
        "_is_separator", "_lower_rune", "_title_rune", "_upper_rune", "fields", "lower_text", "split_text",
        "title_text", "upper_text",
    ),
    "templater.pongo2.operators": (
        "_contains_key", "_contains_text", "_divisor", "_equal_slowly", "_orderable", "concat",
        "divide_floats", "wrap64",
    ),
    "templater.pongo2.render_state": (
        "Fault", "Place", "check_context", "check_time", "deep", "escape_text", "meta", "out_of_steps",
        "work",
    ),
    "templater.pongo2.runtime_calls_and_loops": (
        "check_call", "checked_argument", "no_block", "too_long",
    ),
    "templater.pongo2.values": (
        "Block", "CycleValue", "Failure", "GoList", "Panic", "TooLarge", "_byte_at", "_byte_order",
        "_float_text", "_sorted", "_struct_field", "_truncate", "from_bytes", "gotype", "grow", "has_bytes",
        "is_nil", "is_number", "kind", "length", "recombine", "replace_all", "sized", "special_float",
        "split_bytes", "subscript", "to_bytes", "to_float", "to_int", "to_runes", "truthy", "without_bytes",
    ),
    "templater.rendering.render": (
        "_late", "_with_rule", "render_data", "template_bytes", "without_values",
    ),
    "templater.rootfs.close_in_another_process": (
        "_can_be_traced", "_close_last", "_hand_over", "_has_ended", "_is_same", "_remove_all", "_taken",
        "_unmount", "_wait", "remove_directory", "unmount_at_end",
    ),
    "templater.rootfs.confined_directory": (
        "ForeignFileError",
    ),
    "templater.rootfs.confined_root": (
        "open_trusted_directory", "too_many_names",
    ),
    "templater.rootfs.directory_rootfs": (
        "_open_rootfs", "limit_reading", "open_root", "open_tree",
    ),
    "templater.rootfs.id_map": (
        "_from",
    ),
    "templater.rootfs.paths": (
        "MissingError", "SlowError", "UnmappedError", "no_directory", "not_regular", "refuse_bad_name",
    ),
    "templater.rootfs.regular_files": (
        "_leased", "_too_large",
    ),
    "templater.rootfs.resolve_beneath": (
        "_errno", "_link_target", "_resolve", "is_mount_by_id", "mount_id", "open_with_walk",
    ),
    "templater.rootfs.system_calls": (
        "read_error", "write_error",
    ),
    "templater.rootfs.trusted_paths": (
        "_identity", "_owner_error", "_owner_hint", "_refuse_exchange", "_refuse_fifo", "_shared_error",
        "is_magic", "is_replaceable", "is_same_place", "make_folder", "open_file", "open_fixed_below",
        "open_folder", "open_log", "require_fixed", "trusted_owners",
    ),
    "templater.rootfs.writable_by_others": (
        "_acl_lets_write", "_has_another_number_outside", "_has_other_members",
        "_is_group_of_namespace_owner", "_number_in_etc", "map_of", "namespace_creator", "namespace_owner",
        "own_map",
    ),
    "templater.writing.apply_locks": (
        "_has_waited", "_holder", "_lock_directories", "_read_file", "lock_mounted",
    ),
    "templater.writing.apply_plan": (
        "_allow_many_files", "_plan_has_failed", "_require_content",
    ),
    "templater.writing.attributes": (
        "_differs", "_too_many",
    ),
    "templater.writing.remove_leftovers": (
        "_is_overlay", "_most_names", "_read_token", "identity", "is_private", "is_there", "kept_name",
        "private_name",
    ),
    "templater.writing.transaction": (
        "_first_error",
    ),
}  # fmt: skip

RARE: "dict[str, tuple[str, ...]]" = {
    "templater.hooks.compile_cache": (
        "CompileCache._remove_oldest", "CompileCache.save",
    ),
    "templater.hooks.log": (
        "Log.public_lines", "Log.to_file",
    ),
    "templater.hooks.run": (
        "_open_old_contents",
    ),
    "templater.hooks.sandboxed_rendering": (
        "Job.source", "Run.finish_cold", "Run.recompile", "Run.restart",
    ),
    "templater.instances.instance_directory": (
        "InstanceDirectory.has_image",
    ),
    "templater.instances.record_of_written_files": (
        "Record._may_be_unfinished", "Record._path", "Record._read_staged", "Record._save",
        "Record._too_large", "Record._with", "Record.discard", "Record.file", "Record.files",
        "Record.forget", "Record.require_readable", "Record.settle",
    ),
    "templater.instances.state_directory": (
        "StateDirectory._busy", "StateDirectory.forget_written", "StateDirectory.remember",
        "StateDirectory.remove", "StateDirectory.replace",
    ),
    "templater.model.entry": (
        "TemplateFile.make_source", "TemplateFile.source",
    ),
    "templater.model.errors": (
        "TemplaterError.explain", "TemplaterError.replace",
    ),
    "templater.model.instance": (
        "Instance.replace",
    ),
    "templater.model.plan": (
        "Plan.as_agent", "Plan.outcome", "Plan.with_prediction",
    ),
    "templater.model.render_options": (
        "RenderOptions.check_time",
    ),
    "templater.model.source": (
        "Source._block", "Source.line_at", "Source.line_start", "Source.span",
    ),
    "templater.planning.changed_rootfs": (
        "ChangedRootfs._compare_again", "ChangedRootfs.made_depth", "ChangedRootfs.read",
        "ChangedRootfs.require_ids",
    ),
    "templater.planning.follow_links": (
        "Walk.folder", "Walk.makers", "Walk.mount", "Walk.owner", "Walk.refuse_planted", "Walk.up",
    ),
    "templater.pongo2.daemon_context": (
        "_device",
    ),
    "templater.pongo2.operators": (
        "add_v4", "add_v6", "contains", "div", "equal", "less", "less_or_equal", "mod", "mul", "negate",
        "negative", "sub",
    ),
    "templater.pongo2.render_state": (
        "Limits.late", "Render.found", "Render.include", "Render.merged", "Render.random", "charge",
        "no_templates", "weigh",
    ),
    "templater.pongo2.runtime_calls_and_loops": (
        "block", "called", "captured", "enter", "escaped", "escaped_if", "field", "index", "item", "loop",
        "macro", "member", "nil_call", "operate", "rounds", "spent", "start_loop", "text_of",
        "unknown_filter",
    ),
    "templater.pongo2.values": (
        "ForLoop.all_fields", "ForLoop.get", "Struct.get", "Struct.has", "Struct.to_text", "current_value",
        "get_field", "get_index", "loop_field",
    ),
    "templater.rendering.render": (
        "Compiled.compile", "Compiled.compile_source", "Compiled.ignores_trigger",
    ),
    "templater.rootfs.close_in_another_process": (
        "_keep",
    ),
    "templater.rootfs.confined_directory": (
        "Directory.entry", "Directory.has_content", "Directory.is_same", "Directory.listdir",
        "Directory.look", "Directory.mkdir", "Directory.mknod", "Directory.rmdir", "Directory.rmdir_at_end",
        "Directory.symlink", "Directory.unlink_if_same",
    ),
    "templater.rootfs.confined_root": (
        "Root._obstacle", "Root._trouble", "Root.entries", "Root.listdir",
    ),
    "templater.rootfs.directory_rootfs": (
        "DirectoryRootfs._entries", "DirectoryRootfs.listdir", "DirectoryRootfs.read",
    ),
    "templater.rootfs.id_map": (
        "IdMap.unshifted", "shifted",
    ),
    "templater.writing.remove_leftovers": (
        "Journal.old_contents", "Search._clear", "Search._clear_in_overlay", "Search._empty",
        "Search._is_free", "Search._may_be_merged", "Search._may_be_shared", "Search._remove_numbered",
        "Search.clear", "Search.remove_directory",
    ),
    "templater.writing.staged_file": (
        "StagedFile._changed", "StagedFile._commit_new", "StagedFile._copy_old", "StagedFile._keep_backup",
        "StagedFile._link_passing", "StagedFile._put_back", "StagedFile._read_pieces",
        "StagedFile._require_in_place", "StagedFile._require_known_owner", "StagedFile._unlink_passing",
        "StagedFile.put_back",
    ),
    "templater.writing.target_directories": (
        "TargetDirectories._make_owned", "TargetDirectories._make_private",
        "TargetDirectories._remove_private", "TargetDirectories.first_name",
        "TargetDirectories.make_directory", "TargetDirectories.room_for",
    ),
    "templater.writing.transaction": (
        "Transaction._commit_earlier_changes", "Transaction._is_ordered", "Transaction._mounted",
        "Transaction._touched", "Transaction._undo",
    ),
}  # fmt: skip
