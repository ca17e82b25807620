//! Models by name: one list for frame policies, one for heap allocators.
//!
//! A new model is a file beside the others, its option struct, and one line in the `models!` list of its family
//! (`frames/mod.rs`, `heap/mod.rs`). A model of another crate is added with [`Registry::add`] and chosen in a workload as
//! `custom(name: "...", options: {"...": 1})`.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Models behind one trait object: `dyn FrameAllocator`, `dyn HeapAllocator`.
pub trait Family {
    /// What every model of the family is built in: the memory, the coins.
    type Setting;
    /// A model's name with its options, as a workload writes it.
    type Choice;
}

/// A type of a family as the family's trait object.
pub trait Boxed<F: ?Sized> {
    /// The same in a box.
    fn boxed(self) -> Box<F>;
}

/// A model that can be chosen by name.
pub trait Model<F: Family + ?Sized>: Boxed<F> + Sized + Serialize + DeserializeOwned + 'static {
    /// As in RON, on the command line and as the file is called: `first_fit`.
    const NAME: &'static str;
    /// What it does, in one line of at most 60 characters.
    const SUMMARY: &'static str;
    /// Its rules for `framesim explain`: a few lines of at most 76 characters.
    const RULES: &'static str;
    /// What a workload can set.
    type Options: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned;

    /// The model in its first state.
    ///
    /// # Errors
    /// [`BadOptions`] when the options do not fit together or do not fit the setting.
    fn build(setting: F::Setting, options: &Self::Options) -> Result<Self, BadOptions>;
}

/// Options that no model can be built from: which one, what it is, what would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{option}` is {found}; {allowed}")]
pub struct BadOptions {
    /// The option's name.
    pub option: &'static str,
    /// Its value.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

/// Options of a model of another crate.
pub type CustomOptions = BTreeMap<String, u64>;

type Build<F> = fn(<F as Family>::Setting, &<F as Family>::Choice) -> Result<Box<F>, BadOptions>;

/// One model of a [`Registry`].
pub struct Entry<F: Family + ?Sized> {
    /// [`Model::NAME`].
    pub name: &'static str,
    /// [`Model::SUMMARY`].
    pub summary: &'static str,
    /// [`Model::RULES`].
    pub rules: &'static str,
    build: Build<F>,
    restore: fn(&[u8]) -> Option<Box<F>>,
}

impl<F: Family + ?Sized> Clone for Entry<F> {
    fn clone(&self) -> Self {
        let Entry { name, summary, rules, build, restore } = *self;
        Entry { name, summary, rules, build, restore }
    }
}

impl<F: Family + ?Sized> Entry<F> {
    /// The entry of `M`; `build` finds its options in a choice.
    #[must_use]
    pub fn new<M: Model<F>>(build: Build<F>) -> Entry<F> {
        Entry {
            name: M::NAME,
            summary: M::SUMMARY,
            rules: M::RULES,
            build,
            restore: |saved| postcard::from_bytes::<M>(saved).ok().map(M::boxed),
        }
    }
}

/// Models of one family that can be chosen by name.
pub struct Registry<F: Family + ?Sized> {
    entries: Vec<Entry<F>>,
}

impl<F: Family + ?Sized> Clone for Registry<F> {
    fn clone(&self) -> Self {
        Registry { entries: self.entries.clone() }
    }
}

impl<F: Family + ?Sized> Registry<F> {
    /// A registry of these models.
    #[must_use]
    pub fn of(entries: Vec<Entry<F>>) -> Registry<F> {
        Registry { entries }
    }

    /// Adds a model; one of the same name is replaced.
    pub fn add(&mut self, entry: Entry<F>) {
        self.entries.retain(|old| old.name != entry.name);
        self.entries.push(entry);
    }

    /// All models, in the order they were registered.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<F>> {
        self.entries.iter()
    }

    /// The model of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Entry<F>> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// The model called `name`, with the options of `choice`; `None` when nothing has that name.
    #[must_use]
    pub fn build(&self, name: &str, choice: &F::Choice, setting: F::Setting) -> Option<Result<Box<F>, BadOptions>> {
        self.find(name).map(|entry| (entry.build)(setting, choice))
    }

    /// The model that `save` wrote; `None` when nothing has that name or the bytes are not its state.
    #[must_use]
    pub fn restore(&self, name: &str, saved: &[u8]) -> Option<Box<F>> {
        self.find(name).and_then(|entry| (entry.restore)(saved))
    }
}

/// The models of a family: the enum a workload writes (`$choice`) and the list of entries (`$built_in`).
macro_rules! models {
    ($(#[$about:meta])* $choice:ident of $family:ty; $($(#[$doc:meta])* $module:ident :: $model:ident),* $(,)?) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case", deny_unknown_fields)]
        pub enum $choice {
            $($(#[$doc])* $model(<$module::$model as $crate::registry::Model<$family>>::Options),)*
            /// A model of another crate, registered under this name.
            Custom {
                /// The name it is registered under.
                name: String,
                /// Its options.
                #[serde(default)]
                options: $crate::registry::CustomOptions,
            },
        }

        impl $choice {
            /// Names of this crate's models.
            pub const NAMES: &[&str] = &[$(<$module::$model as $crate::registry::Model<$family>>::NAME),*];

            /// The model's name.
            #[must_use]
            pub fn name(&self) -> &str {
                match self {
                    $($choice::$model(_) => <$module::$model as $crate::registry::Model<$family>>::NAME,)*
                    $choice::Custom { name, .. } => name,
                }
            }

            /// The model of that name with default options; a name that is not of this crate becomes a custom one.
            #[must_use]
            pub fn named(name: &str) -> $choice {
                $(if name == <$module::$model as $crate::registry::Model<$family>>::NAME {
                    return $choice::$model(Default::default());
                })*
                $choice::Custom { name: name.to_owned(), options: Default::default() }
            }
        }

        impl $crate::registry::Registry<$family> {
            /// An entry for a model of another crate, whose options are plain numbers by name.
            #[must_use]
            pub fn custom<M>() -> $crate::registry::Entry<$family>
            where
                M: $crate::registry::Model<$family, Options = $crate::registry::CustomOptions>,
            {
                $crate::registry::Entry::new::<M>(|setting, choice| {
                    let given = match choice {
                        $choice::Custom { options, .. } => options.clone(),
                        _ => Default::default(),
                    };
                    Ok(M::build(setting, &given)?.boxed())
                })
            }
        }

        impl Default for $crate::registry::Registry<$family> {
            /// The models of this crate.
            fn default() -> Self {
                $crate::registry::Registry::of(vec![$(
                    $crate::registry::Entry::new::<$module::$model>(|setting, choice| {
                        let given = match choice {
                            $choice::$model(options) => options.clone(),
                            _ => Default::default(),
                        };
                        let model = <$module::$model as $crate::registry::Model<$family>>::build(setting, &given)?;
                        Ok($crate::registry::Boxed::<$family>::boxed(model))
                    })
                ),*])
            }
        }
    };
}
pub(crate) use models;
